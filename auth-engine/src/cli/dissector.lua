-- Wireshark dissector for the message spec @NAME@, made by `auth-engine spec dissector`.
-- Put it into the folder of Personal Lua Plugins, or: tshark -X lua_script:@NAME@.lua
-- Length prefix, header and TCP port are preferences of the protocol @PROTO@. Card numbers are shown masked unless the
-- preference "show card data" is on; Wireshark itself still holds the capture's bytes.
local spec = @SPEC@

local proto = Proto("@PROTO@", "ISO 8583 (" .. spec.name .. ")")
proto.prefs.port = Pref.uint("TCP port", @PORT@, "Port of the link")
proto.prefs.framing = Pref.enum("Length prefix", @WIDTH@, "How the length is written",
  { {1, "len2be", 1}, {2, "len2le", 2}, {3, "len4be", 3}, {4, "len4ascii", 4} }, false)
proto.prefs.inclusive = Pref.bool("Length counts itself", @INCLUSIVE@, "")
proto.prefs.header = Pref.uint("Header bytes", @HEADER@, "Bytes between length and message")
proto.prefs.clear = Pref.bool("Show card data", false, "Show card numbers, tracks, PINs and codes")

local f_mti = ProtoField.string("@PROTO@.mti", "Message type")
local f_bitmap = ProtoField.bytes("@PROTO@.bitmap", "Bitmap")
local f_fault = ProtoField.string("@PROTO@.fault", "Fault")
local f_sub = ProtoField.string("@PROTO@.sub", "Sub-element")
local all = { f_mti, f_bitmap, f_fault, f_sub }
local f_de = {}
for n, de in pairs(spec.elements) do
  f_de[n] = ProtoField.string(string.format("@PROTO@.de%d", n), string.format("DE%d %s", n, de.name))
  all[#all + 1] = f_de[n]
end
proto.fields = all
local e_fault = ProtoExpert.new("@PROTO@.malformed", "Does not decode", expert.group.MALFORMED, expert.severity.ERROR)
proto.experts = { e_fault }

local function hex(bytes)
  return (bytes:gsub(".", function(ch) return string.format("%02X", ch:byte()) end))
end

-- Text of a character set (the spec's unless another is named), as Latin-1 characters; what is no printable one becomes
-- a dot.
local function text(bytes, set)
  local latin1 = spec.sets[set or spec.set]
  return (bytes:gsub(".", function(ch)
    local code = latin1[ch:byte() + 1]
    if code >= 32 and code < 127 then return string.char(code) end
    return "."
  end))
end

local function digits(bytes, set)
  local plain = text(bytes, set)
  if plain:match("^%d+$") then return tonumber(plain) end
  return nil
end

-- Bytes on the wire of so many characters, digits or bytes of an element.
local function size_of(de, units)
  if de.enc == "hex" then return units * 2 end
  if de.enc == "bcd" or de.enc == "bcd-left" then
    if de.signed and units > 0 then return 1 + math.floor(units / 2) end
    return math.ceil(units / 2)
  end
  return units
end

-- What a length prefix says.
local function announced_by(de, bytes)
  if de.pform == "bcd" then
    local plain = hex(bytes)
    return plain:match("^%d+$") and tonumber(plain) or nil
  end
  if de.pform == "binary" then
    local value = 0
    for at = 1, #bytes do value = value * 256 + bytes:byte(at) end
    return value
  end
  if de.pform == "hex" then return tonumber(text(bytes, de.pset), 16) end
  return digits(bytes, de.pset)
end

-- The bytes that an element's prefix announces, and how many characters, digits or bytes they are.
local function content(de, value)
  local own = de.inclusive and de.prefix or 0
  if de.count == "bytes" then return value - own, nil end
  if de.count == "nibbles" then return math.ceil((value - 2 * own) / 2), value - 2 * own end
  return size_of(de, value - own), value - own
end

-- What an element's bytes say.
local function plain(de, data, units)
  if de.enc == "binary" then return hex(data) end
  if de.enc == "hex" then return text(data, de.set) end
  if de.enc == "bcd" or de.enc == "bcd-left" then
    local sign = ""
    if de.signed and #data > 0 then
      sign, data = text(data:sub(1, 1)), data:sub(2)
      units = units and units - 1
    end
    local all = hex(data)
    if units and units < #all then
      all = de.enc == "bcd" and all:sub(#all - units + 1) or all:sub(1, units)
    end
    return sign .. all
  end
  return text(data, de.set)
end

local function mask(number)
  local first = #number >= 16 and 8 or 6
  if #number <= first + 4 then return string.rep("*", #number) end
  return number:sub(1, first) .. string.rep("*", #number - first - 4) .. number:sub(-4)
end

local function shown(value, secret)
  if not secret or proto.prefs.clear then return value end
  if secret == "pan" and value:match("^%d+$") then return mask(value) end
  local number = secret == "track" and value:match("^(%d+)[=D]")
  if number then return mask(number) .. "=****" end
  return "****"
end

local function subs(tree, range, bytes, de)
  local at = 1
  if de.class and text(bytes:sub(1, 1)):match("^%u$") then
    tree:add(f_sub, range(0, 1), de.class .. ": " .. text(bytes:sub(1, 1)))
    at = 2
  end
  while at <= #bytes do
    local tag, len = text(bytes:sub(at, at + 1)), digits(bytes:sub(at + 2, at + 3))
    if #tag < 2 or not len or at + 3 + len > #bytes then
      tree:add(f_sub, range(at - 1), "Unreadable: no sub-element")
      return
    end
    local sub = de.subs[tag] or { name = "Sub-element" }
    local data = bytes:sub(at + 4, at + 3 + len)
    local value = shown(sub.binary and hex(data) or text(data), sub.secret)
    tree:add(f_sub, range(at - 1, 4 + len), tag .. " " .. sub.name .. ": " .. value)
    at = at + 4 + len
  end
end

local function tlvs(tree, range, bytes, de)
  local at = 1
  while at <= #bytes do
    local from = at
    if bytes:byte(at) == 0 then
      at = at + 1
    else
      local stop = at
      if bytes:byte(at) % 32 == 31 then
        repeat stop = stop + 1 until stop > #bytes or bytes:byte(stop) < 128 or stop - at == 2
      end
      local tag = hex(bytes:sub(at, stop))
      local len = bytes:byte(stop + 1)
      local data = stop + 2
      if len and len > 128 and len <= 131 then
        local count = len - 128
        len = 0
        for i = 0, count - 1 do len = len * 256 + (bytes:byte(data + i) or 0) end
        data = data + count
      end
      if not len or len == 128 or data + len - 1 > #bytes then
        tree:add(f_sub, range(from - 1), "Unreadable: no BER-TLV object")
        return
      end
      local sub = de.tlv[tag] or { name = "EMV data object" }
      local value = shown(hex(bytes:sub(data, data + len - 1)), sub.secret)
      tree:add(f_sub, range(from - 1, data + len - from), tag .. " " .. sub.name .. ": " .. value)
      at = data + len
    end
  end
end

local function parts(tree, range, bytes, de)
  local at = 1
  for _, part in ipairs(de.parts) do
    if at > #bytes then return end
    local len = math.min(part.len > 0 and part.len or #bytes, #bytes - at + 1)
    tree:add(f_sub, range(at - 1, len), part.name .. ": " .. text(bytes:sub(at, at + len - 1)))
    at = at + len
  end
end

-- One message: returns its type, or nil and what is wrong.
local function message(tree, range)
  local bytes = range:bytes():raw()
  local function fault(at, what)
    local place = math.max(0, math.min(at - 1, #bytes - 1))
    tree:add(f_fault, range(place), what):add_proto_expert_info(e_fault, what)
  end
  local size = spec.mti == "bcd" and 2 or 4
  local mti = spec.mti == "bcd" and hex(bytes:sub(1, 2)) or text(bytes:sub(1, 4), spec.mti)
  if not mti:match("^%d%d%d%d$") then
    fault(1, "message type: no four digits")
    return "?"
  end
  tree:add(f_mti, range(0, size), mti)
  local at, present = size + 1, {}
  local width = spec.hex_bitmap and 16 or 8
  local base = 0
  repeat
    local raw = bytes:sub(at, at + width - 1)
    if #raw < width then
      fault(at, "bitmap: the message ends")
      return mti
    end
    tree:add(f_bitmap, range(at - 1, width))
    local bits = spec.hex_bitmap and text(raw, spec.bitmap_set) or hex(raw)
    local more = false
    for i = 1, 16 do
      local nibble = tonumber(bits:sub(i, i), 16)
      if not nibble then
        fault(at, "bitmap: no hexadecimal digits")
        return mti
      end
      for bit = 0, 3 do
        if math.floor(nibble / 2 ^ (3 - bit)) % 2 == 1 then
          local n = base + (i - 1) * 4 + bit + 1
          if n == 1 or (n == 65 and spec.third) then more = true else present[#present + 1] = n end
        end
      end
    end
    at, base = at + width, base + 64
  until not more
  for _, n in ipairs(present) do
    local de = spec.elements[n]
    if not de then
      fault(at, string.format("DE%d: not in the spec", n))
      return mti
    end
    local from, units = at, de.units
    local len = units and size_of(de, units)
    if de.prefix > 0 then
      local value = announced_by(de, bytes:sub(at, at + de.prefix - 1))
      at = at + de.prefix
      if not value then
        fault(from, string.format("DE%d: no digits of its length", n))
        return mti
      end
      len, units = content(de, value)
      if len < 0 then
        fault(from, string.format("DE%d: a length below what it counts", n))
        return mti
      end
    end
    local data = bytes:sub(at, at + len - 1)
    if #data < len then
      fault(from, string.format("DE%d: the message ends", n))
      return mti
    end
    local value = shown(plain(de, data, units), de.secret)
    local item = tree:add(f_de[n], range(from - 1, at - from + len), value)
    if len > 0 and (not de.secret or proto.prefs.clear) then
      local inner = range(at - 1, len)
      if de.subs then
        subs(item, inner, data, de)
      elseif de.tlv then
        tlvs(item, inner, data, de)
      elseif de.parts then
        parts(item, inner, data, de)
      end
    end
    at = at + len
  end
  if at <= #bytes then fault(at, "bytes left over") end
  return mti
end

local widths = { 2, 2, 4, 4 }

local function announced(range)
  local kind = proto.prefs.framing
  if kind == 1 then return range:uint() end
  if kind == 2 then return range:le_uint() end
  if kind == 3 then return range:uint() end
  return tonumber(range:string()) or 0
end

function proto.dissector(buffer, pinfo, root)
  local width = widths[proto.prefs.framing]
  local at = 0
  while at < buffer:len() do
    local left = buffer:len() - at
    local need = left < width and DESEGMENT_ONE_MORE_SEGMENT or nil
    local len
    if not need then
      len = announced(buffer(at, width)) + (proto.prefs.inclusive and 0 or width)
      if len <= width then
        at = at + width
        goto continue
      end
      if len > left then need = len - left end
    end
    if need then
      pinfo.desegment_offset = at
      pinfo.desegment_len = need
      return
    end
    do
      pinfo.cols.protocol = "ISO 8583"
      local tree = root:add(proto, buffer(at, len))
      local head = width + proto.prefs.header
      local kind = message(tree, buffer(at + head, len - head))
      tree:append_text(" " .. kind)
      if at == 0 then pinfo.cols.info = kind else pinfo.cols.info:append(", " .. kind) end
      at = at + len
    end
    ::continue::
  end
end

local registered
local function register()
  local table = DissectorTable.get("tcp.port")
  if registered then table:remove(registered, proto) end
  registered = proto.prefs.port
  table:add(registered, proto)
end
proto.prefs_changed = register
register()
