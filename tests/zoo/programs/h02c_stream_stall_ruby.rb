# Three tokens of a stream, then silence, without a read timeout.
require_relative 'zoo'

require 'net/http'

host, port = peer
Net::HTTP.start(host, port, read_timeout: nil) do |http|
  seen = 0
  http.request(Net::HTTP::Get.new('/stall')) do |answer|
    answer.read_body do |part|
      seen += part.scan('data:').size
      puts "token #{seen}"
      mark if seen == 3
    end
  end
end
