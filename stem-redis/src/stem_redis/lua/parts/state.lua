-- What is kept of one message beside its bytes, and where it stands.
--
-- The field `s` of m:ID is a row of numbers that scripts rewrite, and behind it what the
-- publisher wrote once: see stem_redis/packing.py. The other fields are `m` the message
-- as published, and only when there is something to say `e` errors, `c` why it shall be
-- cancelled, `w` who holds it, `r` why it is dead.
local READY, DELAYED, PARKED, LEASED, DEAD = 0, 1, 2, 3, 4
local FIXED = 'I8I8BBI8c8I2c0I2c0'
local ROW = CHANGING .. FIXED
local CHANGING_SIZE = struct.size(CHANGING)
local ROW_SIZE = CHANGING_SIZE + 38  -- at least: with a queue and a key that have no name
local STONE = '<I8I8I8c8'

-- A row as a table; nil for what is none.
local function row_of(id, raw)
    if type(raw) ~= 'string' or #raw < ROW_SIZE then return nil end
    local is_row, place, held, cancel, failed, lapses, releases, fence, base, settled, turn, due,
        parked_at, died_at, lease, dedupe, priority, kind, window, digest, queue, key, behind =
        pcall(struct.unpack, ROW, raw)
    if not is_row or place > DEAD or behind ~= #raw + 1 then return nil end
    return {
        id = id, raw = raw, place = place, held = held, cancel = cancel, failed = failed,
        lapses = lapses, releases = releases, fence = fence, base = base, settled = settled,
        turn = turn, due = due, parked_at = parked_at, died_at = died_at, lease = lease,
        dedupe = dedupe, priority = priority, kind = kind, window = window, digest = digest,
        queue = queue, key = key,
    }
end

local function packed(s)
    return struct.pack(
        CHANGING, s.place, s.held, s.cancel, s.failed, s.lapses, s.releases, s.fence, s.base,
        s.settled, s.turn, s.due, s.parked_at, s.died_at
    ) .. (s.fixed or string.sub(s.raw, CHANGING_SIZE + 1))
end

local function write(s)
    call('HSET', P .. 'm:' .. s.id, 's', packed(s))
end

-- The message of this id, whatever became of it; nil when there is none that can be read.
local function kept_row(id)
    return row_of(id, redis.pcall('HGET', P .. 'm:' .. id, 's'))
end

-- The live or dead message of this id, or nil: never one whose retention is over.
local function find(id)
    local s = kept_row(id)
    if not s or s.place == DEAD and s.due <= now then return nil end
    return s
end

-- What is left of an ended message while its id is remembered, or nil.
local function stone_of(id)
    local raw = redis.pcall('GET', P .. 'm:' .. id)
    if type(raw) ~= 'string' or #raw ~= struct.size(STONE) then return nil end
    local until_ms, fence, settled, digest = struct.unpack(STONE, raw)
    if until_ms <= now then return nil end
    return {fence = fence, settled = settled, digest = digest}
end
