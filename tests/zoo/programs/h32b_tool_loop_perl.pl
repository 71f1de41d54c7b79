# The same tool call again and again: tokens are spent, no file changes.
use FindBin;
require "$FindBin::Bin/zoo.pl";

use Time::HiRes 'sleep';

mark();
while (1) {
    print "{\"type\":\"tool_use\",\"name\":\"bash\",\"input\":{\"command\":\"cat src/missing.txt\"}}\n";
    say_line('tokens=120');
    `cat src/missing.txt 2>&1`;
    sleep scaled(0.3, 0.1);
}
