-- The server for each request, chosen by libgotoni in nginx: LuaJIT calls the C library, gotoni.h declares it.
-- gotoni.conf says which of these functions runs when. None of them waits but `choose`, for the request's body.
local ffi = require "ffi"
local balancer = require "ngx.balancer"

local MORE_TRIES = 2 -- on other servers, before the first byte of an answer
local PROBE_S = 1
local PROBES_TO_BE_DOWN = 3

local gotoni = {}
local C, router
local servers = {} -- by the router's id, which is the index: { host, port, failures }

-- ===== What calling C takes =====

ffi.cdef [[
    typedef struct { long s, ns; } gotoni_lua_time;
    int clock_gettime(int clock, gotoni_lua_time *time);
]]
local time = ffi.new("gotoni_lua_time[1]")

local function now()
    ffi.C.clock_gettime(1, time) -- CLOCK_MONOTONIC
    return time[0].s * 1000000000ULL + time[0].ns
end

-- LuaJIT reads C, but has no preprocessor.
local function declare(path)
    local file = assert(io.open(path))
    local header = file:read("*a")
    file:close()
    local version = tonumber(header:match("#define GOTONI_ABI_VERSION (%d+)"))
    ffi.cdef((header:gsub("#ifdef __cplusplus.-#endif", ""):gsub("#[^\n]*", "")))
    return version
end

-- A structure with zeros in it: all defaults.
local function new(kind)
    local made = ffi.new(kind)
    made.struct_size = ffi.sizeof(made)
    return made
end

local function check(status)
    if status ~= C.GOTONI_OK then error(ffi.string(C.gotoni_status_text(status)), 2) end
end

-- ===== The life of a request =====

-- The prompt as tokens: what stands behind "messages" (or "prompt") in the body, four bytes to a token. A conversation
-- only grows there, so its turns begin alike, whatever the content is; inside of strings quotes have a backslash.
local function prompt(body)
    local from = body:find('"messages"', 1, true) or body:find('"prompt"', 1, true) or 1
    return body:sub(from)
end

-- Sets call.ticket and call.server. Gives the library's status.
local function route(call)
    local request = new("gotoni_request")
    request.tokens = ffi.cast("const uint32_t *", call.prompt)
    request.token_count = math.floor(#call.prompt / 4)
    request.namespace_key = call.namespace
    local tried = ffi.new("uint64_t[?]", #call.tried, call.tried)
    request.exclude, request.exclude_count = tried, #call.tried
    local decision = new("gotoni_decision")
    local status = C.gotoni_route(router, request, now(), decision)
    if status == C.GOTONI_OK then
        call.ticket, call.server = decision.ticket, tonumber(decision.server)
    end
    return status
end

local function finish(call, outcome)
    if not call.ticket then return end
    check(C.gotoni_finish(router, call.ticket, outcome, now()))
    call.ticket = nil
end

-- access: the whole request is here. gotoni.conf keeps bodies in memory.
function gotoni.choose()
    ngx.req.read_body()
    local body = ngx.req.get_body_data() or ""
    local model = body:match('"model"%s*:%s*"([^"]*)"') or ""
    local call = { prompt = prompt(body), namespace = C.gotoni_namespace_key(model, #model, nil, 0, nil, 0), tried = {} }
    local status = route(call)
    if status == C.GOTONI_OK then
        ngx.ctx.gotoni = call
        return
    end
    ngx.status = 503
    ngx.header["Content-Type"] = "application/json"
    ngx.say('{"error":{"message":"', ffi.string(C.gotoni_status_text(status)), '","type":"server_error"}}')
    return ngx.exit(503)
end

-- balancer: once for each attempt.
function gotoni.connect()
    local call = ngx.ctx.gotoni
    if balancer.get_last_failure() then
        call.tried[#call.tried + 1] = call.server
        finish(call, C.GOTONI_FINISH_FAILED)
        if route(call) ~= C.GOTONI_OK then return ngx.exit(ngx.DECLINED) end
    else
        assert(balancer.set_more_tries(MORE_TRIES))
    end
    local server = servers[call.server]
    assert(balancer.set_current_peer(server.host, server.port))
    check(C.gotoni_commit(router, call.ticket, now()))
end

-- body_filter: a piece of the answer. The head of a stream comes before the first token, so it says nothing.
function gotoni.pass()
    local call, piece, last = ngx.ctx.gotoni, ngx.arg[1], ngx.arg[2]
    if not (call and call.ticket) then return end
    if piece ~= "" and ngx.status < 400 then
        -- Its status does not count: a ticket whose server was removed has ended.
        local say = call.started and C.gotoni_progress or C.gotoni_first_token
        say(router, call.ticket, now())
        call.started = true
    end
    -- Behind an answer that the server breaks off, nginx flushes: an empty piece that is not the last. When the client
    -- leaves it does not.
    call.broken = piece == "" and not last
    call.complete = last
end

-- log: every request gets here, however it ended.
function gotoni.finish()
    local call = ngx.ctx.gotoni
    if not call then return end
    local outcome = C.GOTONI_FINISH_FAILED
    if call.complete and ngx.status < 400 then
        outcome = C.GOTONI_FINISH_OK
    elseif ngx.status == 499 or (ngx.status < 400 and not call.broken) then
        outcome = C.GOTONI_FINISH_CANCELLED
    end
    finish(call, outcome)
end

-- ===== Servers =====

-- How far a server is, and whether it lives. A server that is down has lost its cache: the router forgets it.
local function probe(id, server)
    local socket = ngx.socket.tcp()
    socket:settimeouts(PROBE_S * 1000, PROBE_S * 1000, PROBE_S * 1000)
    local began = now()
    local connected = socket:connect(server.host, server.port)
    local rtt = now() - began
    local line = connected
        and socket:send("GET /health HTTP/1.1\r\nHost: " .. server.host .. "\r\nConnection: close\r\n\r\n")
        and socket:receive()
    if connected then socket:close() end
    if line and line:match("^HTTP/1%.1 [1-4]") then
        server.failures = 0
        check(C.gotoni_server_mark(router, id, C.GOTONI_SERVER_UP, now()))
        check(C.gotoni_observe_rtt(router, id, rtt, now()))
    else
        server.failures = server.failures + 1
        if server.failures == PROBES_TO_BE_DOWN then
            ngx.log(ngx.WARN, server.host, ":", server.port, " is down")
            check(C.gotoni_server_mark(router, id, C.GOTONI_SERVER_DOWN, now()))
        end
    end
end

local function probe_all(ending)
    if ending then return end
    for id, server in ipairs(servers) do
        ngx.thread.spawn(probe, id, server)
    end
end

-- init_worker. `options`: header and library, paths; servers, each "ADDRESS:PORT" (numbers: nginx looks up no names
-- here); policy, a name of the library's.
function gotoni.start(options)
    assert(ngx.worker.count() == 1, "worker_processes must be 1: there is one router, and it has to see every request")
    local version = declare(options.header)
    C = ffi.load(options.library)
    assert(C.gotoni_abi_version() == version, "the library and its header are of two versions")

    local made = ffi.new("gotoni_router *[1]")
    check(C.gotoni_router_create(nil, made))
    router = made[0]
    local policy = ffi.new("uint32_t[1]")
    check(C.gotoni_policy_from_name(options.policy, policy))
    check(C.gotoni_policy_set(router, policy[0]))
    for id, address in ipairs(options.servers) do
        local host, port = address:match("^([%d.]+):(%d+)$")
        assert(host, "not an address and a port: " .. address)
        servers[id] = { host = host, port = tonumber(port), failures = 0 }
        local server = new("gotoni_server")
        server.id = id
        check(C.gotoni_server_add(router, server, now()))
    end
    assert(ngx.timer.at(0, probe_all))
    assert(ngx.timer.every(PROBE_S, probe_all))
end

-- content: the router's counters, and how many servers are up.
function gotoni.status()
    local stats = new("gotoni_stats")
    check(C.gotoni_stats_get(router, stats))
    local up = 0
    for id in ipairs(servers) do
        local info = new("gotoni_server_info")
        check(C.gotoni_server_get(router, id, now(), info))
        if info.state == C.GOTONI_SERVER_UP then up = up + 1 end
    end
    local lines = { '"up":' .. up }
    for _, name in ipairs { "open_tickets", "routed", "finished_ok", "finished_failed", "finished_cancelled",
                            "prompt_tokens", "matched_tokens" } do
        lines[#lines + 1] = string.format('"%s":%d', name, tonumber(stats[name]))
    end
    ngx.header["Content-Type"] = "application/json"
    ngx.say("{", table.concat(lines, ","), "}")
end

return gotoni
