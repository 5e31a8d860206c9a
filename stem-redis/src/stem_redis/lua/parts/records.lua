-- What is remembered of how tasks ended. Records may live in another logical database of
-- the same server; HOME and RESULTS are their numbers, equal or empty when it is one.
--
--   r:ID   flags (1 terminal, 2 sent back by a replay), fence, until when, then the record
--   rx     the ids of records, for lists                                     sorted set
--   aired  there while no ids need to be cleared away from it again          text
local HEAD = '<BI8I8'
local HEAD_SIZE = struct.size(HEAD)

local function there(home, results, work, ...)
    if results == '' or results == home then return work(...) end
    call('SELECT', results)
    local is_whole, kept = pcall(work, ...)
    call('SELECT', home)
    if not is_whole then error(kept, 0) end
    return kept
end

local function head_of(id)
    local raw = call('GETRANGE', P .. 'r:' .. id, 0, HEAD_SIZE - 1)
    if #raw < HEAD_SIZE then return nil end
    local flags, fence, until_ms = struct.unpack(HEAD, raw)
    if until_ms <= now then return nil end
    return {is_terminal = flags % 2 == 1, fence = fence}
end

-- Keep a record iff it replaces what is there; true also if it is there already.
local function offer(id, fence, is_terminal, ttl, blob)
    local name, old = P .. 'r:' .. id, head_of(id)
    if old and (fence < old.fence or fence == old.fence and old.is_terminal) then
        return fence == old.fence and string.sub(call('GET', name), HEAD_SIZE + 1) == blob
    end
    if ttl > 0 then
        local head = struct.pack(HEAD, is_terminal and 1 or 0, fence, now + ttl)
        call('ZADD', P .. 'rx', 0, id)  -- first: a key that is not ours stops it here
        call('SET', name, head .. blob, 'PX', ttl)
    else
        call('DEL', name)
        redis.pcall('ZREM', P .. 'rx', id)
    end
    if is_terminal then call('PUBLISH', P .. 'done:' .. id, '') end
    return true
end

-- Let the record of a replayed task be queued again, unless a newer fence has written.
local function reopen(id, fence)
    local old = head_of(id)
    if old and old.fence <= fence then call('SETRANGE', P .. 'r:' .. id, 0, string.char(2)) end
    return old ~= nil
end
