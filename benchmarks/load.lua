-- Sends the requests of one file in turn, and writes what came of them as JSON. For wrk; see load.py.
-- The file holds each request as it goes over the wire, after its length as ten digits.

local requests = {}
local next_request = 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  while true do
    local length = file:read(10)
    if not length then break end
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"microseconds": %d, "requests": %d, "failures": %d, "refusals": %d, "p50": %d, "p90": %d, "p99": %d, "max": %d}\n',
    summary.duration, summary.requests, errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
