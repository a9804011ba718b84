#!/bin/sh
# Scrip's Prolog and Epilog for Slurm, both in one: notes the edges of each Scrip job on its node.
#
# In slurm.conf:   Prolog=/etc/slurm/scrip_meter.sh   Epilog=/etc/slurm/scrip_meter.sh
# Runs as SlurmdUser (root), which no job can pose as. Writes one small file per edge to the spool, a folder that
# only SlurmdUser may write and that the oracle sees at the same path. Time is counted since boot, so that a clock
# set meanwhile changes nothing. Never fails: Slurm drains a node whose Prolog does; a job without its two files
# is not billed.

spool=${SCRIP_SPOOL:-/var/spool/scrip}

digits() { case $1 in '' | *[!0-9]*) return 1 ;; esac; }

case $SLURM_JOB_COMMENT in
    scrip:0x*) ;;
    *) exit 0 ;; # somebody else's job
esac
id=${SLURM_JOB_COMMENT#scrip:0x}
case $id in *[!0-9a-f]*) exit 0 ;; esac
[ ${#id} -eq 64 ] && digits "$SLURM_JOB_ID" || exit 0
case $SLURM_JOB_GPUS in *[!0-9,]*) exit 0 ;; esac

case $SLURM_SCRIPT_CONTEXT in
    prolog*) edge=begin code= ;;
    epilog*) edge=end code=$SLURM_JOB_EXIT_CODE2 ;;
    *) exit 0 ;;
esac
case $code in *[!0-9:]*) exit 0 ;; esac
read -r uptime _ </proc/uptime || exit 0

umask 022
aside=$(mktemp "$spool/.edge.XXXXXX") || exit 0
printf 'scrip-slurm 1\nedge=%s\njob=%s\nid=%s\ngpus=%s\nexit=%s\nuptime=%s\nat=%s\n' \
    "$edge" "$SLURM_JOB_ID" "$id" "$SLURM_JOB_GPUS" "$code" "$uptime" "$(date +%s)" >"$aside" &&
    chmod 644 "$aside" && mv -f "$aside" "$spool/$SLURM_JOB_ID.$edge"
exit 0
