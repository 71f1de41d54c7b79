# A server that sleeps in its handler: the next client has come and nobody looks.
require_relative 'zoo'

require 'net/http'

server = TCPServer.new('127.0.0.1', 0)
host, port = peer
poke = -> { Net::HTTP.get(host, "/poke?p=#{server.addr[1]}", port) }
Thread.new do
  poke.call
  sleep 0.5
  poke.call
  mark
end
server.accept.gets
sleep 99_999
