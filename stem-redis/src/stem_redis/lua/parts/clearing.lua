-- What is cleared away now and then: by few of those who could, and a little at a time.

-- Whether half a second has passed since this said so last; noted under *name*.
local function is_time_to(name)
    if call('SET', P .. name, '', 'PX', 500, 'NX') then return true end
    call('STRLEN', P .. name)  -- a key that is not ours would stand there for ever, and is told of
    if call('PTTL', P .. name) ~= -1 then return false end
    call('SET', P .. name, '', 'PX', 500)
    return true
end

-- Clear some ids away whose records have expired. Whether many of those looked at were: then there
-- are more, and it is well to go on, as Redis itself does.
local function forget_records()
    local ids, over = call('ZRANDMEMBER', P .. 'rx', 300), {}
    for _, id in ipairs(ids) do
        if call('EXISTS', P .. 'r:' .. id) == 0 then over[#over + 1] = id end
    end
    if #over > 0 then call('ZREM', P .. 'rx', unpack(over)) end
    return #over * 4 > #ids
end
