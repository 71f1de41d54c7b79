# A token each 0.4 s.
require_relative 'zoo'

require 'net/http'

host, port = peer
mark
Net::HTTP.start(host, port) { |http| http.request(Net::HTTP::Get.new('/slow')) { |answer| answer.read_body { |part| part } } }
