# Asks a person for approval.
require_relative 'zoo'

print 'Approve? [y/N] '
mark
puts $stdin.gets
