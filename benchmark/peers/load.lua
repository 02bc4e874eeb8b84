-- wrk -s load.lua URL -- FILE: sends the bodies of FILE, one a line, in turn; prints one line of JSON at the end.
local requests = {}
local at = 0

function init(args)
    local headers = { ["Content-Type"] = "application/json" }
    for line in io.lines(args[#args]) do
        requests[#requests + 1] = wrk.format("POST", "/v1/chat/completions", headers, line)
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency, _)
    local e = summary.errors
    io.write(string.format(
        '\n{"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "errors": %d, "errors_by_kind": '
            .. '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
        e.connect + e.read + e.write + e.timeout + e.status, e.connect, e.read, e.write, e.timeout, e.status))
end
