-- uses: prelude state places admission
-- Broker.publish: accept messages, each whole or not at all, all of them in one step.
--
-- ARGV     instant, then four for each message: see parts/admission.lua
-- returns  0 when every one was created, else for each its status and holder or reason
-- Everything is looked at before the first write: a call is done whole or not at all.
local messages = {}
for i = 2, #ARGV, 4 do
    messages[#messages + 1] = incoming(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
reserved = reserve(#messages)
for _, s in ipairs(messages) do open_queue(s.queue) end

local replies, all_created = {}, true
for i, s in ipairs(messages) do
    local status, detail = admit(s)
    replies[2 * i - 1], replies[2 * i] = status, detail
    all_created = all_created and status == CREATED
end
return all_created and 0 or replies
