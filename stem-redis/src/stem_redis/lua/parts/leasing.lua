-- What a lease makes of a message that is ready. Numbers of its own and not a table: this is
-- done for every message.
local ROW_HEAD = CHANGING .. 'I8I8BB'
local CHANGING_LENGTH = struct.size(CHANGING)
local ROW_LENGTH = CHANGING_LENGTH + 38  -- at least, as in parts/state.lua

-- The turn that was taken last. Whoever has read it can take more: no write of it fails.
local function last_turn()
    return math.max(tonumber(call('GET', P .. 'turn')) or 0, now * PER_MS)
end

-- The row of a message behind its next lease, and the end of that; nil if it cannot be taken,
-- because it is leased, dead, or waits for its time. Then its place, and its kind of unique key.
local function leased(raw, score)
    local place, _, cancel, failed, lapses, releases, fence, base, settled, _, due, parked_at,
        died_at, length, _, priority, kind = struct.unpack(ROW_HEAD, raw)
    if due > 0 or place > 2 then return nil end
    local ends = now + length
    return struct.pack(
        CHANGING, 3, 1, cancel, failed, lapses, releases, fence + 1, base, settled,
        score - (9 - priority) * LEVEL, ends, parked_at, died_at
    ) .. string.sub(raw, CHANGING_LENGTH + 1), ends, place, kind
end
