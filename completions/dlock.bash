# Completion of dlock for bash: commands, their options, and after the key of `dlock run` the command to run.
# A test keeps the options here and those of `dlock COMMAND --help` in step.

_dlock_options()
{
    case $1 in
    run)
        echo "-S --store -w --wait -n --nb --retries --interval -t --ttl --no-renew --max-hold --min-hold" \
            "-E --conflict-exit-code --on-lost --kill-after --foreground -q --quiet -v --verbose --json" \
            "-h --help -V --version"
        ;;
    acquire)
        echo "-S --store -w --wait -n --nb --retries --interval -t --ttl -E --conflict-exit-code" \
            "-q --quiet -v --verbose --json -h --help -V --version"
        ;;
    release) echo "-S --store --owner --json -h --help -V --version" ;;
    extend) echo "-S --store -t --ttl --owner --json -h --help -V --version" ;;
    break) echo "-S --store --force --json -h --help -V --version" ;;
    bench) echo "-S --store --time --only --svg --json -h --help -V --version" ;;
    status | list | check) echo "-S --store --json -h --help -V --version" ;;
    *) echo "-h --help -V --version" ;;
    esac
}

# Where the command of `dlock run` begins among COMP_WORDS; nothing if it is not there yet.
_dlock_command_start()
{
    local i key=

    for ((i = 2; i <= COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --)
            if [[ $key ]]; then
                echo $((i + 1))
                return
            fi
            ;;
        -S | --store | -w | --wait | --retries | --interval | -t | --ttl | --max-hold | --min-hold | -E | \
            --conflict-exit-code | --on-lost | --kill-after)
            i=$((i + 1))
            # bash makes three words of --name=value
            [[ ${COMP_WORDS[i]} == "=" ]] && i=$((i + 1))
            ;;
        -*) ;;
        *)
            if [[ $key ]]; then
                echo "$i"
                return
            fi
            key=yes
            ;;
        esac
    done
}

_dlock()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} start

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "run acquire release extend status list break check bench $(_dlock_options)" \
            -- "$current")
        return
    fi
    if [[ ${COMP_WORDS[1]} == run ]]; then
        start=$(_dlock_command_start)
        if [[ $start ]] && ((start <= COMP_CWORD)); then
            if declare -F _command_offset >/dev/null; then
                _command_offset "$start"
            elif ((start == COMP_CWORD)); then
                mapfile -t COMPREPLY < <(compgen -c -- "$current")
            else
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
            fi
            return
        fi
    fi
    [[ $current == "=" ]] && current=
    [[ $previous == "=" ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}
    case $previous in
    --on-lost) mapfile -t COMPREPLY < <(compgen -W "kill term ignore" -- "$current") ;;
    -S | --store) mapfile -t COMPREPLY < <(compgen -W "sqlite:" -- "$current") ;;
    --svg) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    *)
        if [[ $current == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_dlock_options "${COMP_WORDS[1]}")" -- "$current")
        fi
        ;;
    esac
}

complete -F _dlock dlock
