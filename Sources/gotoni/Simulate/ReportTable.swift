import GotoniSimulation

/// The comparison on a terminal.
struct ReportTable {
    let text: String

    init(_ document: ReportDocument) {
        var lines: [String] = []
        for cell in document.cells {
            lines += [Self.title(cell, document), ""]
            lines += Self.latency(cell).lines + [""] + Self.service(cell).lines + [""]
        }
        let limits = document.limits
        lines += [
            "± is half of a 95 % interval (block bootstrap). good: TTFT at most \((limits.ttft / 1_000).text(1)) s and \(limits.itl.text(0)) ms between tokens.",
            "hits: share of prompt tokens found cached, and of those that an endless cache would have found. busiest: its share of requests.",
            "ITL: mean time between the tokens of an answer. busy: share of the time that servers had work, on average.",
            "Times, hits and regret (time lost against the oracle, which looks at last tokens) are of requests that got an answer.",
        ]
        text = lines.joined(separator: "\n")
    }

    private static func title(_ cell: ReportDocument.Cell, _ document: ReportDocument) -> String {
        let mean = Double(cell.promptTokens) / Double(max(cell.requests, 1))
        return "\(cell.workload), \(cell.load): \(cell.requests) requests of \(mean.text(0)) tokens on average, "
            + "\((100 * cell.reusableShare).text(1)) % of them seen before; \(document.servers.count) servers, "
            + "round trips \(document.rtt.map { $0.text(0) }.joined(separator: "/")) ms, seed \(document.seed)"
    }

    private static func latency(_ cell: ReportDocument.Cell) -> TextTable {
        var table = TextTable([
            "policy", "TTFT p50", "", "p95", "", "p99", "E2E p50", "p95", "p99", "ITL p50", "p95", "p99",
        ])
        for policy in cell.policies {
            func seconds(_ estimate: Estimate?) -> String { estimate.map { ($0.value / 1_000).text(2) } ?? "-" }
            func half(_ estimate: Estimate?) -> String {
                estimate.map { "±" + (($0.high - $0.low) / 2_000).text(2) } ?? ""
            }
            func milliseconds(_ estimate: Estimate?) -> String { estimate.map { $0.value.text(1) } ?? "-" }
            table.add([
                policy.policy, seconds(policy.ttft?.p50), half(policy.ttft?.p50), seconds(policy.ttft?.p95),
                half(policy.ttft?.p95), seconds(policy.ttft?.p99), seconds(policy.e2e?.p50), seconds(policy.e2e?.p95),
                seconds(policy.e2e?.p99), milliseconds(policy.itl?.p50), milliseconds(policy.itl?.p95),
                milliseconds(policy.itl?.p99),
            ])
        }
        table.units = ["", "s", "", "s", "", "s", "s", "s", "s", "ms", "ms", "ms"]
        return table
    }

    private static func service(_ cell: ReportDocument.Cell) -> TextTable {
        func percent(_ value: Double?) -> String { value.map { (100 * $0).text(1) } ?? "-" }
        func seconds(_ estimate: Estimate?) -> String { estimate.map { ($0.value / 1_000).text(2) } ?? "-" }
        func half(_ estimate: Estimate?, _ scale: Double, _ digits: Int) -> String {
            estimate.map { "±" + (scale * ($0.high - $0.low) / 2).text(digits) } ?? ""
        }
        typealias Column = (heading: String, unit: String, text: (PolicyReport) -> String)
        var columns: [Column] = [
            ("policy", "", { $0.policy }), ("good", "%", { percent($0.goodput?.value) }),
            ("", "", { half($0.goodput, 100, 1) }), ("good/s", "", { $0.goodPerSecond.text(2) }),
            ("hits", "%", { percent($0.hitShare) }), ("of ceiling", "%", { percent($0.hitShareOfCeiling) }),
            ("busiest", "%", { percent($0.busiestShare) }), ("fairness", "", { $0.fairness.map { $0.text(3) } ?? "-" }),
            ("busy", "%", { percent($0.utilization) }),
        ]
        if cell.policies.contains(where: { $0.regretTTFT != nil }) {
            columns += [
                ("regret TTFT", "s", { seconds($0.regretTTFT) }), ("", "", { half($0.regretTTFT, 0.001, 2) }),
                ("E2E", "s", { seconds($0.regretE2E) }),
            ]
        }
        // What did not happen anywhere needs no column.
        let events: [Column] = [
            ("failed", "", { "\($0.failed)" }), ("retries", "", { "\($0.retries)" }),
            ("preempted", "", { "\($0.preemptions)" }), ("passed on", "", { "\($0.sharing?.passedOn ?? 0)" }),
        ]
        columns += events.filter { column in cell.policies.contains { column.text($0) != "0" } }
        var table = TextTable(columns.map(\.heading))
        table.units = columns.map(\.unit)
        for policy in cell.policies { table.add(columns.map { $0.text(policy) }) }
        return table
    }
}
