# A regular expression that needs for ever.
require_relative 'zoo'

mark
puts(('a' * 60 + 'b').match?(/^(a+)+$/))
