#!/usr/bin/env perl
# Each route needs something that the others do not.
use Mojolicious::Lite -signatures;

get '/' => sub ($c) { $c->render(text => 'hello from perl') };
get '/page' => sub ($c) { $c->render(template => 'page', title => 'a page') };
get '/json' => sub ($c) { $c->render(json => {answer => 42}) };
get '/unicode' => sub ($c) { $c->render(text => (lc("\x{391}") eq "\x{3b1}" && "\x{3b1}" =~ /\p{Greek}/) ? 'greek' : 'no') };
get '/encode' => sub ($c) { require Encode; $c->render(text => unpack 'H*', Encode::encode('shiftjis', "\x{3042}")) };
get '/digest' => sub ($c) { require Digest::SHA; $c->render(text => Digest::SHA::sha256_hex('hello')) };
get '/time' => sub ($c) { require POSIX; $c->render(text => POSIX::strftime('%Y', gmtime 0)) };
get '/broken' => sub { die "broken on purpose\n" };
app->start;
