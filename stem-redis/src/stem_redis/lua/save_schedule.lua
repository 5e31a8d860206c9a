-- uses: prelude
-- ScheduleStore.save_schedule: keep a state iff its version is the next one.
--
--   schedules   name: version in eight bytes, then the state   hash
--
-- ARGV     instant, name, version, state
-- returns  1 if it was saved, else 0
local old = call('HGET', P .. 'schedules', ARGV[2])
local version = old and struct.unpack('<I8', old) or 0
if tonumber(ARGV[3]) ~= version + 1 then return 0 end
call('HSET', P .. 'schedules', ARGV[2], struct.pack('<I8', version + 1) .. ARGV[4])
return 1
