-- uses: prelude records clearing
-- Clear away a little of what is over beside a backend: ids of records that have expired. The
-- sweep of a broker begins with it for records of its own server, and nobody for those of another.
--
-- ARGV     instant, home and results database, 1 to go on where there was more
-- returns  1 when there is more, else 0
if ARGV[4] ~= '1' and not is_time_to('aired') then return 0 end
return there(ARGV[2], ARGV[3], forget_records) and 1 or 0
