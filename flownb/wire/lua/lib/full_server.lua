-- full_server: lets a script that ends or frees something write on a server that has reached its maxmemory.
-- @touches stalled
-- @use     types

-- Such a server refuses the first write of a script if that needs memory, and none after a write that needs none.
local function write_though_full(q) attempt('SREM', q.stalled, '') end
