#!/usr/bin/perl
use JSON::PP;
print "Content-Type: application/json\n\n", encode_json({hello => "cgi"}), "\n";
