-- stall: a job's process died. Who was there too often runs alone, as a suspect; who then dies again is given up.
-- @touches nothing but the job's hash
-- @use     types queue

local MOST_UNBEGUN = 10 -- deaths of workers that had taken a job, and not begun it
local ALONE_TO_FAIL = 2 -- deaths, in which nothing else ran, after which a suspect is given up

local function is_over(deaths, alone, most)
  return deaths > most and alone >= math.min(ALONE_TO_FAIL, most + 1)
end

local function in_words(deaths) return 'crashed its worker ' .. int(deaths) .. (deaths == 1 and ' time' or ' times') end

-- Of a many-row job whose row is known, that row dies, not the job. `died` holds `row:deaths:alone` of such rows; rows that
-- are given up move to `dead`, as `row:deaths`.
local function charge_row(job, row, most, alone)
  local has = fields_of(job, 'died', 'dead')
  local kept, deaths, lonely = {}, 1, alone and 1 or 0
  for entry in (has[1] or ''):gmatch('%S+') do
    local its_row, its_deaths, its_alone = entry:match('^(%d+):(%d+):(%d+)$')
    if tonumber(its_row) == row then deaths, lonely = deaths + its_deaths, lonely + its_alone
    else kept[#kept + 1] = entry end
  end
  if is_over(deaths, lonely, most) then
    redis.call('HSET', job, 'dead', (has[2] and has[2] .. ' ' or '') .. int(row) .. ':' .. int(deaths))
    redis.call('HDEL', job, 'suspect')
  else
    kept[#kept + 1] = int(row) .. ':' .. int(deaths) .. ':' .. int(lonely)
    if deaths > most then redis.call('HSET', job, 'suspect', '1') end
  end
  redis.call('HSET', job, 'died', table.concat(kept, ' '))
end

-- The job had begun. `alone`: nothing else had, in its process; nil where nobody saw it: then suspects had been alone, and
-- who is to have no second run (most = 0) gets none.
local function charge_death(job, most, alone, row)
  if not is_kind(job, 'hash') then return end
  local has = fields_of(job, 'stc', 'alone', 'suspect')
  if alone == nil then alone = has[3] or most == 0 end
  if row then return charge_row(job, row, most, alone) end
  local deaths, lonely = number(has[1]) + 1, number(has[2]) + (alone and 1 or 0)
  redis.call('HSET', job, 'stc', deaths)
  if alone then redis.call('HSET', job, 'alone', lonely) end
  if is_over(deaths, lonely, most) then redis.call('HSET', job, 'defa', in_words(deaths))
  elseif deaths > most then redis.call('HSET', job, 'suspect', '1') end
end

-- The job had been taken, and had not begun: it is charged with nothing, unless it was the only one there.
local function note_unbegun(job, most)
  if not is_kind(job, 'hash') then return end
  if field_of(job, 'suspect') then return charge_death(job, most, true) end
  if (attempt('HINCRBY', job, 'unbegun', 1) or 0) >= MOST_UNBEGUN then redis.call('HSET', job, 'suspect', '1') end
end
