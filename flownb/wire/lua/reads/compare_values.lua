--- compare_values: whether a parent holds of a job what it returned, and whether that refers to files; nothing is written.
-- @keys    queues
-- @args    pairs mark
-- @returns values
-- @errors
-- @use     types

-- Of a job and a parent of it ('': none is asked about): {does the parent hold another value, does the job's own, or what it
-- has of it so far, have the mark}. A large value of a batch stands in the job alone, and a note of its length with the parent.
local values = {}
for i, pair in ipairs(args.pairs) do
  local has = fields_of(pair[1], 'returnvalue', 'part')
  local own, held = has[1], pair[2] ~= '' and field_of(pair[2] .. ':processed', pair[1])
  local differs = own and held and held ~= own and held ~= '{"flownb:large":' .. #own .. '}'
  local marked = (own and own:find(args.mark, 1, true) or has[2] and has[2]:find(args.mark, 1, true)) and true
  values[i] = {differs or false, marked or false}
end
return reply{values = values}
