# Says "agent running" each second; the two threads that do the work have locked each other out.
require_relative 'zoo'

locks = [Mutex.new, Mutex.new]
taken = Queue.new
workers = [[0, 1], [1, 0]].map do |first, second|
  Thread.new do
    locks[first].synchronize do
      taken << first
      sleep 0.01 until taken.size == 2
      locks[second].synchronize { puts 'never' }
    end
  end
end
sleep 0.01 until workers.all?(&:stop?) && taken.size == 2
mark
loop do
  puts 'agent running'
  sleep scaled(1, 0.1)
end
