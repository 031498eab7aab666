# SPDX-License-Identifier: Apache-2.0
# bash completion for sandlog(1): commands, options, values, and the ids of sandboxes from the server.

_sandlog_ids() {
    # a server that does not answer at once must not hold up the prompt
    timeout 2 sandlog ps -a -o json 2>/dev/null | sed -n 's/.*"id": *"\([A-Za-z0-9._:-]*\)".*/\1/p'
}

_sandlog() {
    local cur prev command i
    # ids may hold a colon, at which readline would break the word
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n : cur prev
    else
        cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    fi
    command=${COMP_WORDS[1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" -le 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'up run logs ps export canary token help --help --version' -- "$cur")
        return
    fi
    if [ "$command" = run ]; then
        # behind `--`, or the first word that is no option, it is the command's line
        for ((i = 2; i < COMP_CWORD; i++)); do
            case ${COMP_WORDS[i]} in
            --) i=$((i + 1)); break ;;
            --id | --log-dir | --config) i=$((i + 1)) ;;
            -*) ;;
            *) break ;;
            esac
        done
        if [ "$i" -lt "$COMP_CWORD" ] || [ "${COMP_WORDS[COMP_CWORD-1]}" = -- ]; then
            if declare -F _command_offset >/dev/null; then
                _command_offset "$i"
            else
                mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            fi
            return
        fi
    fi
    case $prev in
    --data | --log-dir | --to)
        compopt -o filenames 2>/dev/null # a slash behind a folder, and quotes where a name needs them
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return ;;
    --config | --token-file | --ca-file | --key)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return ;;
    --stream)
        mapfile -t COMPREPLY < <(compgen -W 'stdout stderr both' -- "$cur")
        return ;;
    -o | --output)
        if [ "$command" = ps ]; then
            mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur")
        fi
        return ;;
    --scope)
        mapfile -t COMPREPLY < <(compgen -W 'read write admin' -- "$cur")
        return ;;
    --sandbox)
        mapfile -t COMPREPLY < <(compgen -W "$(_sandlog_ids)" -- "$cur")
        return ;;
    --watch)
        mapfile -t COMPREPLY < <(compgen -W 'cri: docker: plain:' -- "$cur")
        return ;;
    -n | --tail | --since | --until | --wait | -c | --container | -g | --grep | -l | --label | --server | --listen | --id | \
    --batch-bytes | --batch-age | --seconds | --rate | --late | --patience | --ttl)
        return ;;
    esac
    case $command,$cur in
    up,*) i='--data --listen --watch' ;;
    run,*) i='--id --log-dir --' ;;
    logs,-*)
        i='-f --follow --wait -t --timestamps -n --tail --since --until --stream -c --container -g --grep -i --ignore-case
           -l --label -o --output --raw --no-reconnect --server --token-file --ca-file' ;;
    logs,*) i=$(_sandlog_ids) ;;
    ps,*) i='-a --all -o --output --server --token-file --ca-file' ;;
    export,-*) i='--to --once -q --quiet --batch-bytes --batch-age --server --token-file --ca-file' ;;
    canary,*) i='--seconds --rate --late --patience --log-dir --json --server --token-file --ca-file' ;;
    token,*) i='--key --sandbox --scope --ttl' ;;
    help,*) i='up run logs ps export canary token' ;;
    *) i='' ;;
    esac
    case $cur in
    -*) i="$i --help --version --config --print-config" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$i" -- "$cur")
    declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
}

complete -F _sandlog sandlog
