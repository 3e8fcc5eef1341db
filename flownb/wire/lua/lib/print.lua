-- print: lines that a job's function has printed join its log.
-- @touches logs
-- @use     types

local LINES_A_COMMAND = 1000

-- Sent with the end of a run, which counts once: so a call that is sent twice prints once.
local function print_lines(job, lines, keep)
  local logs = job .. ':logs'
  for first = 1, #lines, LINES_A_COMMAND do
    attempt('RPUSH', logs, unpack(lines, first, math.min(first + LINES_A_COMMAND - 1, #lines)))
  end
  if keep then attempt('LTRIM', logs, -keep, -1) end
end
