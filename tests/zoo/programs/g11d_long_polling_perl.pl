# A chat bot that asks for news, fifty seconds at a time; there is none.
use FindBin;
require "$FindBin::Bin/zoo.pl";

open my $file, '<', "$ENV{ZOO_DIR}/port" or die;
my $chat = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . <$file>) or die;
mark();
while (1) {
    syswrite $chat, 'GET /updates?s=' . scaled(50) . " HTTP/1.1\r\nHost: chat\r\n\r\n";
    sysread $chat, my $answer, 4096;
}
