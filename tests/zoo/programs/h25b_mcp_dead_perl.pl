# A tool server over pipes was killed after it took a request; the caller kept the answer's writing end too.
use FindBin;
require "$FindBin::Bin/zoo.pl";

say_line('task="call tool search" state=working');
pipe my $in, my $request;
pipe my $answers, my $out;
my $child = fork // die;
if (!$child) {
    close $request;
    sysread $in, my $line, 4096;
    kill 'KILL', $$;
}
close $in;
syswrite $request, "{\"jsonrpc\":\"2.0\",\"id\":1}\n";
mark(child => $child);
sysread $answers, my $line, 4096;
