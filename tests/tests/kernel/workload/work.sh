# A shell and its pipelines, by programs that load libraries. No two lines use the same file of /data.
set -e
PATH=/usr/local/bin:/usr/bin:/bin
export PATH
cd /data
find texts -name '*.txt' -type f | sort >/tmp/names
xargs cat </tmp/names | grep -c line | sed 's/^/lines: /' >/tmp/count
. ./functions
twice linked.txt >/tmp/twice
tar -cf - packed | gzip -c | wc -c >/tmp/size
awk -f /usr/lib/work/sum.awk /tmp/size >/tmp/sum
ls -l listed/ >/tmp/listing
test -x /usr/bin/absent || test -e tested
cp -a copied /tmp/copy
mkdir made
mv moved/file made/file
rm -r unwanted
sh -c 'while read -r line; do last=$line; done <"$1"; echo "$last"' sh read >/tmp/last
grep -q line searched
# A pipeline ends well when its last program does.
read -r lines </tmp/count
test "$lines" = 'lines: 2'
read -r sum </tmp/sum
test "$sum" -gt 100
