#!/bin/sh
# Asks the provider's node about a Slurm job, over the unix socket that scrip_admission.conf (beside this) names.
#
#   scrip_admission.sh submit JSON    for job_submit.lua: prints "admitted", or why not
#   PrologSlurmctld=/etc/slurm/scrip_admission.sh    asks again as the job starts; Slurm kills it if this fails
#   EpilogSlurmctld=/etc/slurm/scrip_admission.sh    says that it has ended
#
# Jobs of other partitions end here at once. Needs curl.

here=$(dirname -- "$0")
socket= partitions=
while IFS='=' read -r name value; do
    case $name in
        socket) socket=$value ;;
        partitions) partitions=$value ;;
    esac
done <"$here/scrip_admission.conf"

ask() { # PATH BODY
    curl --silent --max-time 5 --unix-socket "$socket" --header 'Content-Type: application/json' \
        --data-binary "$2" "http://admission/slurm/$1"
}

if [ "$1" = submit ]; then
    ask submit "$2"
    exit
fi

case ,$partitions, in
    *",$SLURM_JOB_PARTITION,"*) ;;
    *) exit 0 ;; # not ours
esac
case $SLURM_JOB_ID in '' | *[!0-9]*) exit 1 ;; esac
case $SLURM_JOB_COMMENT in *[!0-9a-z:]*) exit 1 ;; esac
body="{\"comment\":\"$SLURM_JOB_COMMENT\",\"ticket\":\"$SLURM_JOB_ID\"}"

case $SLURM_SCRIPT_CONTEXT in
    prolog*)
        for _ in 1 2 3; do # a node that restarts is back within seconds
            said=$(ask start "$body")
            [ "$said" = admitted ] && exit 0
            [ -n "$said" ] && exit 1
            sleep 2
        done
        exit 1
        ;;
    epilog*)
        ask end "$body" >/dev/null
        exit 0 # if it wasn't heard, the node finds out by squeue
        ;;
esac
