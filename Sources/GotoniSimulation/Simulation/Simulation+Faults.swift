import GotoniCore

extension Simulation {
    mutating func apply(_ fault: Fault.Kind) throws(RouterError) {
        switch fault {
        case .crash(let server):
            isRunning[server] = false
            let lost = engines[server].restart()
            try drain(server)
            for job in lost where isCurrent(job >> 8, UInt32(job & 0xFF)) { reply(job >> 8, .failed) }
        case .start(let server): isRunning[server] = true
        case .slow(let server, let factor):
            engines[server].slow(factor, now: time)
            try drain(server)
        case .rtt(let region, let milliseconds): rtt[region] = milliseconds
        case .lost(let region): isLost[region] = true
        case .found(let region): isLost[region] = false
        }
    }
}
