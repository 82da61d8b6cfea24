-- Each route needs something that the others do not.
local socket = require("socket")
local server = assert(socket.bind("0.0.0.0", 8080))
local routes = {
  ["/"] = function() return 200, "hello from lua" end,
  ["/json"] = function() return 200, require("cjson").encode({ answer = 42 }) end,
  ["/pages"] = function() return 200, require("pages").title end,
  ["/host"] = function() return 200, socket.dns.toip("localhost") end,
  ["/url"] = function() return 200, require("socket.url").parse("http://a/b").host end,
  ["/encode"] = function() return 200, (require("mime").b64("hello")) end,
  ["/broken"] = function() error("broken on purpose") end,
}
while true do
  local client = server:accept()
  local path = (client:receive() or ""):match("^%S+ (%S+)") or "/"
  local route = routes[path] or function() return 404, "nothing is here" end
  local fine, status, body = pcall(route)
  if not fine then status, body = 500, status end
  client:send(("HTTP/1.0 %d Answer\r\nContent-Length: %d\r\n\r\n%s"):format(status, #body, body))
  client:close()
end
