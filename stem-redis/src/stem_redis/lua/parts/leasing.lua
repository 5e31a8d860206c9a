-- What a lease makes of a message that is ready. It cuts the row at its bytes and makes no table,
-- for it is done for every message; see parts/state.lua for what stands where.
local FENCE_AT, BASE_AT, TURN_AT, DUE_AT = 16, 24, 40, 48
local PRIORITY_AT, KIND_AT = 88, 89
local ROW_LENGTH = struct.size(CHANGING) + 38  -- at least, as in parts/state.lua

-- The turn that was taken last. Whoever has read it can take more: no write of it fails.
local function last_turn()
    return math.max(tonumber(call('GET', P .. 'turn')) or 0, now * PER_MS)
end

-- The row of a message behind its next lease, and the end of that; nil if it cannot be taken,
-- because it is leased, dead, or waits for its time. Then its place, and its kind of unique key.
local function leased(raw)
    local place = string.byte(raw, 1)
    local due, _, _, length = struct.unpack('<I8I8I8I8', raw, DUE_AT)  -- then two, and its length
    if due > 0 or place > 2 then return nil end
    local fence, ends = struct.unpack('<I8', raw, FENCE_AT) + 1, now + length
    return '\3\1' .. string.sub(raw, 3, FENCE_AT - 1) .. struct.pack('<I8', fence)
        .. string.sub(raw, FENCE_AT + 8, DUE_AT - 1) .. struct.pack('<I8', ends)
        .. string.sub(raw, DUE_AT + 8), ends, place, string.byte(raw, KIND_AT)
end

-- The same for a message that waited for its time, as if it had become ready before; nil if there
-- is more to do for it than for most. Then what it would have stood at among those that are ready.
local function leased_when_due(raw)
    local due, _, _, length = struct.unpack('<I8I8I8I8', raw, DUE_AT)
    if string.byte(raw, 1) ~= 1 or due == 0 or string.byte(raw, KIND_AT) == 2 then return nil end
    local fence, base = struct.unpack('<I8I8', raw, FENCE_AT)
    local turn, ends = due * PER_MS + base % PER_MS, now + length
    return '\3\1' .. string.sub(raw, 3, FENCE_AT - 1) .. struct.pack('<I8', fence + 1)
        .. string.sub(raw, BASE_AT, TURN_AT - 1) .. struct.pack('<I8I8', turn, ends)
        .. string.sub(raw, DUE_AT + 8), ends, (9 - string.byte(raw, PRIORITY_AT)) * LEVEL + turn
end
