-- Has Pktgen-DPDK send UDP of many flows to leat for a while, and prints what reached the backend.
--
--   pktgen [EAL options] -- -P -m "2.0,3.1" -f scripts/pktgen/leat.lua
--
-- Port 0 is the clients', port 1 the backend's. The environment says what to send; run.sh sets all but LEAT_PERCENT:
--
--   LEAT_VIP       the service's address, IPv4 or IPv6   LEAT_FLOWS     about how many flows
--   LEAT_PORT      its UDP port                          LEAT_SIZE      bytes of a frame, check sequence included
--   LEAT_MAC       leat's Ethernet address               LEAT_PERCENT   of the port's rate
--   LEAT_BACKEND   the address that port 1 answers for   LEAT_SECONDS   how long
--
-- In IPv6 it answers for none: leat is told port 1's Ethernet address, as --backend ADDR,mac=MAC.

-- Ports from 1024 on whose number is a prime: then every address meets every port.
local FIRST_PORT, PORTS = 1024, 64499
local FIRST_CLIENT = { 198, 18, 0, 1 }
local NETWORK_V6 = "2001:2::"

local function setting(name, otherwise)
    return os.getenv("LEAT_" .. name) or otherwise
end

local vip = setting("VIP", "10.0.0.10")
local port = tonumber(setting("PORT", "53"))
local mac = setting("MAC", "02:00:00:00:00:fe")
local backend = setting("BACKEND", "10.0.0.2")
local flows = tonumber(setting("FLOWS", "1000"))
local is_v6 = vip:find(":", 1, true) ~= nil
local size = tonumber(setting("SIZE", is_v6 and "84" or "64"))
local percent = tonumber(setting("PERCENT", "100"))
local seconds = tonumber(setting("SECONDS", "10"))

-- The address `number` after the first client's.
local function client(number)
    if is_v6 then
        return string.format("%s%x:%x", NETWORK_V6, math.floor((number + 1) / 65536), (number + 1) % 65536)
    end
    local value = ((FIRST_CLIENT[1] * 256 + FIRST_CLIENT[2]) * 256 + FIRST_CLIENT[3]) * 256 + FIRST_CLIENT[4] + number
    local bytes = {}
    for place = 4, 1, -1 do
        bytes[place] = math.floor(value % 256)
        value = math.floor(value / 256)
    end
    return table.concat(bytes, ".")
end

-- Gives a field of port 0's packets its four values.
local function range(set, first, last, step)
    set("0", "start", first)
    set("0", "min", first)
    set("0", "max", last)
    set("0", "inc", step)
end

local function configure()
    local ports = math.min(flows, PORTS)
    local clients = math.ceil(flows / ports)

    local none, one = "0.0.0.0", "0.0.0.1"
    if is_v6 then
        none, one = "::", "::1"
        -- First, for it says what the addresses below are.
        pktgen.range.set_type("0", "ipv6")
    else
        -- Answers ARP, so that leat finds the backend.
        pktgen.set_ipaddr("0", "src", client(0) .. "/15")
        pktgen.set_ipaddr("0", "dst", vip)
        pktgen.set_ipaddr("1", "src", backend .. "/24")
        pktgen.set_ipaddr("1", "dst", client(0))
        pktgen.process("0,1", "on")
    end

    pktgen.range.ip_proto("0", "udp")
    pktgen.range.dst_mac("0", "start", mac)
    pktgen.range.dst_mac("0", "inc", "00:00:00:00:00:00")
    range(pktgen.range.dst_ip, vip, vip, none)
    range(pktgen.range.src_ip, client(0), client(clients - 1), clients > 1 and one or none)
    range(pktgen.range.dst_port, port, port, 0)
    range(pktgen.range.src_port, FIRST_PORT, FIRST_PORT + ports - 1, ports > 1 and 1 or 0)
    range(pktgen.range.pkt_size, size, size, 0)
    pktgen.set_range("0", "on")

    -- Without end, until it is stopped.
    pktgen.set("0", "count", 0)
    pktgen.set("0", "rate", percent)
end

local function measure()
    pktgen.clr()
    pktgen.start("0")
    pktgen.delay(seconds * 1000)
    pktgen.stop("0")
    -- What is under way shall arrive.
    pktgen.delay(1000)

    local sent = pktgen.portStats("0", "port")[0].opackets
    local received = pktgen.portStats("1", "port")[1].ipackets
    print(string.format("sent      %15d  %12.0f a second", sent, sent / seconds))
    print(string.format("received  %15d  %12.0f a second", received, received / seconds))
    print(string.format("lost      %15d  %11.4f%%", sent - received, 100 * (sent - received) / math.max(sent, 1)))
end

pktgen.screen("off")
configure()
-- Time for leat to ask for the backend.
pktgen.delay(2000)
measure()
pktgen.quit()
