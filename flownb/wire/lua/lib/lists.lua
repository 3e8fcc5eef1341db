-- lists: take many ids out of a queue's lists of waiting jobs at once.
-- @touches wait paused
-- @use

local PIECE, FEW = 500, 3 -- ids of a list that are read at once; ids that are removed one by one

-- The position of the first or the last of these ids, whichever is nearer to an end: most lists are worked off at an end.
local function position_in(list, ids)
  for _, way in ipairs({{1, PIECE}, {-1, PIECE}, {1, 0}}) do
    local first = redis.call('LPOS', list, ids[1], 'RANK', way[1], 'MAXLEN', way[2])
    local last = redis.call('LPOS', list, ids[#ids], 'RANK', way[1], 'MAXLEN', way[2])
    if first or last then return math.min(first or last, last or first) end
  end
end

-- Remove wanted ids from `position` on and note them in `found`: to the end of the list, or while each piece has some.
local function remove_from(list, position, wanted, found, to_end)
  local from_tail, removed, has_more = position > redis.call('LLEN', list) / 2, 0, true
  while has_more do
    local piece, here = redis.call('LRANGE', list, position, position + PIECE - 1), 0
    for i, id in ipairs(piece) do
      if wanted[id] and not found[id] then
        redis.call('LSET', list, position + i - 1, '')
        found[id] = true
        here = here + 1
      end
    end
    position, removed = position + #piece, removed + here
    has_more = #piece == PIECE and (to_end or here > 0)
  end
  if removed > 0 then redis.call('LREM', list, from_tail and -removed or removed, '') end
  return removed
end

-- Remove waiting jobs, set aside or not. Returns the ids that were there, as a set. The ids of one call are mostly
-- neighbours; a whole list is read only when many of them are not.
local function remove_from_lists(q, ids)
  local wanted, found, left, lists = {}, {}, #ids, {q.wait, q.paused}
  for _, id in ipairs(ids) do wanted[id] = true end
  for _, list in ipairs(lists) do
    local position = left > FEW and position_in(list, ids)
    if position then left = left - remove_from(list, position, wanted, found, false) end
  end
  for _, list in ipairs(lists) do
    if left > FEW then left = left - remove_from(list, 0, wanted, found, true) end
    for _, id in ipairs(left > 0 and left <= FEW and ids or {}) do
      if not found[id] and redis.call('LREM', list, 1, id) == 1 then
        found[id] = true
        left = left - 1
      end
    end
  end
  return found
end
