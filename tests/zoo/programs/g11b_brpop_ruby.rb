# A worker on an empty queue: BRPOP for 30 s, again and again.
require_relative 'zoo'

queue = TCPSocket.new('127.0.0.1', File.read("#{ENV['ZOO_DIR']}/port").to_i)
mark
loop do
  queue.write("BRPOP jobs #{scaled(30)}\r\n")
  queue.gets
end
