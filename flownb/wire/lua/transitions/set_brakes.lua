--- set_brakes: a batch gets other brakes; with `lift` it goes on. With that, or `anew`, rows that end count anew.
-- Refused, as `used_up`, while what was spent reaches the budget of a unit: {unit, spent, budget}. Units that are not named keep
-- their budget. Which jobs are rows the flow's record says already, or `base`, `name` and `more_rows` do.
-- @keys    queues
-- @args    now flow base name more_rows budget most percent lift anew
-- @returns used_up
-- @errors  KEY_DAMAGED
-- @use     types queue counts marks spending

local q, flow = queues[1], args.flow
local key, record = flow_key('brakes', q, flow), flow_key('flow', q, flow)
if not is_kind(key, 'hash') then return refuse('KEY_DAMAGED', key) end
if not is_kind(record, 'hash') then return refuse('KEY_DAMAGED', record) end
local flows, id = marked_in('paused', q, flow)
if not is_kind(flows, 'set') then return refuse('KEY_DAMAGED', flows) end

local budgets, flat = {}, redis.call('HGETALL', key)
for i = 1, #flat, 2 do budgets[flat[i]:match('^budget:(.+)$') or ''] = flat[i + 1] end
budgets[''] = nil
for i = 1, #args.budget, 2 do budgets[args.budget[i]] = int(args.budget[i + 1]) end
for unit, budget in pairs(budgets) do
  local spent = field_of(account_key(q, flow), unit)
  if args.lift and spent and tonumber(spent) >= tonumber(budget) then return reply{used_up = {unit, spent, budget}} end
end
if redis.call('EXISTS', record) == 0 then return reply{} end

local has_new = #args.budget > 0 or args.most or args.percent
if has_new then redis.call('HSET', record, 'brakes', '1') end
if has_new and args.base then
  redis.call('HSET', key, 'base', args.base, 'name', args.name)
  if #args.more_rows > 0 then redis.call('HSET', key, unpack(args.more_rows)) end
end
for unit, budget in pairs(budgets) do redis.call('HSET', key, 'budget:' .. unit, budget) end
if args.most or args.percent then redis.call('HDEL', key, 'most', 'percent') end
if args.most then redis.call('HSET', key, 'most', args.most) end
if args.percent then redis.call('HSET', key, 'percent', args.percent) end
if args.lift or args.anew then redis.call('HDEL', key, 'ended', 'failed') end
if args.lift then
  redis.call('SREM', flows, id)
  attempt('HDEL', flow_key('counts', q, flow), 'paused@')
  redis.call('DEL', flow_key('pilot', q, flow))
end
return reply{}
