# Says its result and stays: joins a thread that sleeps for ever.
require_relative 'zoo'

puts '{"type":"result","subtype":"success","result":"all done","is_error":false}'
say 'state=done task=""'
mark
Thread.new { sleep }.join(scaled(360_000))
