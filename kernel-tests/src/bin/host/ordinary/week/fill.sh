# fill.sh: leaves no room where the enforcer remembers.
for size in 1M 64K 4K 1K; do
    file=$(mktemp -u /var/lib/bfp/full.XXXXXXXX)
    while fallocate -l $size "$file" 2>/dev/null; do file=$(mktemp -u /var/lib/bfp/full.XXXXXXXX); done
    rm -f "$file"
done
! dd if=/dev/zero of=/var/lib/bfp/full.last bs=1024 count=1 2>/dev/null
