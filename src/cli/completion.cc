// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox completion: one script per shell, static but for the ids of sandboxes, which they ask
// `tinderbox ls` for.
#include <string_view>

#include "cli/commands.h"
#include "cli/output.h"

namespace tinderbox::cli {
namespace {

constexpr std::string_view kBash = R"script(# bash completion for tinderbox
_tinderbox() {
  local commands="run exec create ls ps inspect rm timeout pause resume fork snapshot rollback cp logs events template templates prune volume secret key recover info doctor bench env version completion"
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command="" words=0 i
  local group=""
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --) [[ $command == run || $command == exec ]] && return ;;
      --host) ((i++)) ;;
      -*) ;;
      snapshot | template | volume | secret | key | recover) if [[ -z $command && -z $group ]]; then group=${COMP_WORDS[i]}; else ((words++)); fi ;;
      *) if [[ -z $command ]]; then command=${group:+$group-}${COMP_WORDS[i]}; else ((words++)); fi ;;
    esac
  done
  local options="--host --json --help" process="-i -t -e --env -w --workdir -u --user"
  local sandbox="-T --template --memory --cpus --timeout --name -m --metadata -v --volume --no-internet --on-timeout --auto-resume --cold --timings"
  case $prev in
    -T | --template)
      COMPREPLY=($(compgen -W "$(tinderbox templates 2>/dev/null | awk 'NR > 1 { print $1 == "-" ? $2 : $1 }')" -- "$cur"))
      return ;;
    --on-timeout) COMPREPLY=($(compgen -W "pause kill" -- "$cur")); return ;;
    --state) COMPREPLY=($(compgen -W "running paused no-space dead failed" -- "$cur")); return ;;
    --id-file | --file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --memory | --cpus | --timeout | --name | --host | --bytes | -n | --count | -[emwuv] | --volume | --env | --workdir | --user | --metadata)
      return ;;
  esac
  if [[ -z $command && -n $group ]]; then
    case $group in
      snapshot) commands="create ls rm verify" ;;
      template) commands="ls rm inspect verify" ;;
      secret) commands="set ls rm" ;;
      key) commands="create ls rm rotate" ;;
      volume) commands="create ls rm" ;;
      recover) commands="ls adopt rm" ;;
    esac
    COMPREPLY=($(compgen -W "$commands $options" -- "$cur"))
    return
  fi
  if [[ -z $command ]]; then
    COMPREPLY=($(compgen -W "$commands $options --version" -- "$cur"))
    return
  fi
  case $command in
    run) options+=" --rm --id-file $process $sandbox" ;;
    exec) options+=" $process" ;;
    create) options+=" -e --env $sandbox" ;;
    ls) options+=" -q --quiet --state -m --metadata" ;;
    rm) options+=" -a --all -f --force" ;;
    cp) options+=" -u --user" ;;
    logs) options+=" -f --follow --bytes" ;;
    events) options+=" -n --count" ;;
    pause) options+=" --disk-only --require-healthy" ;;
    resume) options+=" --timeout --on-timeout --reboot --timings" ;;
    fork) options+=" -n --count --timeout --timings" ;;
    rollback) options+=" --timings" ;;
    snapshot-create) options+=" --name --disk-only" ;;
    snapshot-ls | template-ls | templates | volume-ls | secret-ls | key-ls | recover-ls) options+=" -q --quiet" ;;
    snapshot-rm | template-rm | volume-rm | secret-rm | key-rm | recover-rm) options+=" -f --force" ;;
    secret-set) options+=" -f --file -m --metadata" ;;
    key-create) options+=" -l --label --expires" ;;
    key-rotate) options+=" --grace" ;;
    env) options+=" --new-key" ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
    return
  fi
  case $command in
    rm | inspect | pause) COMPREPLY=($(compgen -W "$(tinderbox ls -q 2>/dev/null)" -- "$cur")) ;;
    snapshot-rm | snapshot-verify) COMPREPLY=($(compgen -W "$(tinderbox snapshot ls -q 2>/dev/null)" -- "$cur")) ;;
    recover-adopt | recover-rm) COMPREPLY=($(compgen -W "$(tinderbox recover ls -q 2>/dev/null)" -- "$cur")) ;;
    volume-rm) COMPREPLY=($(compgen -W "$(tinderbox volume ls -q 2>/dev/null)" -- "$cur")) ;;
    key-rm | key-rotate) COMPREPLY=($(compgen -W "$(tinderbox key ls -q 2>/dev/null)" -- "$cur")) ;;
    secret-set | secret-rm) COMPREPLY=($(compgen -W "$(tinderbox secret ls -q 2>/dev/null)" -- "$cur")) ;;
    template-rm | template-verify | template-inspect)
      COMPREPLY=($(compgen -W "$(tinderbox templates -q 2>/dev/null)" -- "$cur")) ;;
    rollback)
      if ((words == 0)); then
        COMPREPLY=($(compgen -W "$(tinderbox ls -q 2>/dev/null)" -- "$cur"))
      else
        COMPREPLY=($(compgen -W "$(tinderbox snapshot ls -q 2>/dev/null)" -- "$cur"))
      fi ;;
    exec | ps | timeout | logs | events | resume | fork | snapshot-create | snapshot-ls)
      ((words == 0)) && COMPREPLY=($(compgen -W "$(tinderbox ls -q 2>/dev/null)" -- "$cur")) ;;
    cp) COMPREPLY=($(compgen -f -- "$cur") $(compgen -S : -W "$(tinderbox ls -q 2>/dev/null)" -- "$cur"))
        compopt -o nospace ;;
    completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur")) ;;
  esac
}
complete -o filenames -F _tinderbox tinderbox
)script";

constexpr std::string_view kZsh = R"script(#compdef tinderbox
_tinderbox_sandboxes() {
  local -a ids
  ids=(${(f)"$(tinderbox ls -q 2>/dev/null)"})
  compadd -a ids
}
_tinderbox_snapshots() { compadd ${(f)"$(tinderbox snapshot ls -q 2>/dev/null)"} }
_tinderbox_templates() { compadd ${(f)"$(tinderbox templates -q 2>/dev/null)"} }
_tinderbox_lost() { compadd ${(f)"$(tinderbox recover ls -q 2>/dev/null)"} }
_tinderbox_volumes() { compadd ${(f)"$(tinderbox volume ls -q 2>/dev/null)"} }
_tinderbox_keys() { compadd ${(f)"$(tinderbox key ls -q 2>/dev/null)"} }
_tinderbox_secrets() { compadd ${(f)"$(tinderbox secret ls -q 2>/dev/null)"} }
_tinderbox_either() { _tinderbox_sandboxes; _tinderbox_snapshots }
_tinderbox() {
  local -a commands global process sandbox
  commands=(
    'run:Run a command in a new sandbox'
    'exec:Run a command in a sandbox that is there'
    'create:Start a sandbox and print its id'
    'ls:List sandboxes'
    'ps:List the commands that run in a sandbox'
    'inspect:Show everything about sandboxes, as JSON'
    'rm:Remove sandboxes, running or not'
    'timeout:Set when a sandbox ends, counted from now'
    'pause:Keep sandboxes as they are, and give their memory back'
    'resume:Go on with a paused sandbox'
    'fork:Make sandboxes with the memory and disk of one that runs'
    'snapshot:Keep the state of a sandbox, to create others from'
    'rollback:Put a sandbox back to a snapshot that was taken of it'
    'template:What sandboxes can be created from'
    'prune:Remove what can be made again, or nobody can use'
    'volume:Directories that outlive sandboxes'
    'recover:Data in lost+found'
    'secret:Values that sandboxes use without seeing them'
    'key:API keys of the daemon'
    'cp:Copy files and directories into or out of a sandbox'
    "logs:Show a sandbox's serial console"
    'events:Show what happened to sandboxes'
    'templates:List templates'
    'info:Show what the daemon runs on'
    'doctor:Check what works on this host'
    'bench:Measure how long one waits for sandboxes'
    'env:Print the variables that point an E2B SDK here'
    "version:Show this program's version"
    'completion:Print a script that teaches a shell to complete our words'
  )
  global=('--host[daemon to talk to]:URL:' '--json[answer as JSON]' '--help[show help]')
  process=(
    {-i,--interactive}'[forward standard input]' {-t,--tty}'[give the command a terminal]'
    '*'{-e,--env}'[environment]:KEY=VALUE:' {-w,--workdir}'[working directory]:DIR:'
    {-u,--user}'[user to run as]:USER:'
  )
  sandbox=(
    {-T,--template}'[template to start from]:NAME:' '--memory[memory in MiB]:MIB:' '--cpus[virtual CPUs]:N:'
    '--timeout[remove after]:DURATION:' '--name[name]:NAME:' '*'{-m,--metadata}'[metadata]:KEY=VALUE:'
    '--no-internet[no way out to public addresses]' '--on-timeout[what its timeout does]:action:(pause kill)'
    '--auto-resume[traffic resumes it]' '--cold[boot it]' '--timings[tell how long the start took]'
  )
  local context state line
  _arguments -C $global '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $words[1] in
        run) _arguments $global $process $sandbox '--rm[remove afterwards]' '--id-file[write the id]:file:_files' '*::command:_normal' ;;
        exec) _arguments $global $process '1:sandbox:_tinderbox_sandboxes' '*::command:_normal' ;;
        create) _arguments $global $sandbox '*'{-e,--env}'[environment]:KEY=VALUE:' ;;
        ls) _arguments $global {-q,--quiet}'[ids only]' '--state[state]:state:(running paused no-space dead failed)' '*'{-m,--metadata}'[metadata]:KEY=VALUE:' ;;
        rm) _arguments $global {-a,--all}'[every sandbox]' {-f,--force}'[absence is no error]' '*:sandbox:_tinderbox_sandboxes' ;;
        inspect) _arguments $global '*:sandbox:_tinderbox_sandboxes' ;;
        ps) _arguments $global '1:sandbox:_tinderbox_sandboxes' ;;
        timeout) _arguments $global '1:sandbox:_tinderbox_sandboxes' '2:duration:' ;;
        pause) _arguments $global '--disk-only[keep the disk alone]' '--require-healthy[refuse where its agent is silent]' '*:sandbox:_tinderbox_sandboxes' ;;
        resume) _arguments $global '--timeout[end it after]:DURATION:' '--on-timeout[what that does]:action:(pause kill)' '--reboot[boot it from its disk]' '--timings[tell how long it took]' '1:sandbox:_tinderbox_sandboxes' ;;
        fork) _arguments $global {-n,--count}'[how many]:N:' '--timeout[end each after]:DURATION:' '--timings[tell how long it took]' '1:sandbox:_tinderbox_sandboxes' ;;
        rollback) _arguments $global '--timings[tell how long it took]' '1:sandbox:_tinderbox_sandboxes' '2:snapshot:_tinderbox_snapshots' ;;
        snapshot) _arguments $global '--name[name]:NAME:' '--disk-only[keep the disk alone]' {-q,--quiet}'[ids only]' '1:command:(create ls rm verify)' '*:sandbox or snapshot:_tinderbox_either' ;;
        template) _arguments $global {-q,--quiet}'[ids only]' '1:command:(ls rm inspect verify)' '*:template:_tinderbox_templates' ;;
        recover) _arguments $global {-q,--quiet}'[names only]' {-f,--force}'[no error where there is none]' '--name[another name]:name:' '1:command:(ls adopt rm)' '*:entry:_tinderbox_lost' ;;
        volume) _arguments $global {-q,--quiet}'[names only]' {-f,--force}'[no error where there is none]' '1:command:(create ls rm)' '*:volume:_tinderbox_volumes' ;;
        key) _arguments $global {-l,--label}'[who uses it]:label:' '--expires[it is refused after]:duration:' '--grace[the old key works for]:duration:' {-q,--quiet}'[ids only]' '1:command:(create ls rm rotate)' '*:key:_tinderbox_keys' ;;
        secret) _arguments $global {-f,--file}'[file that holds the value]:file:_files' '*'{-m,--metadata}'[metadata]:KEY=VALUE:' {-q,--quiet}'[names only]' '1:command:(set ls rm)' '*:secret:_tinderbox_secrets' ;;
        logs) _arguments $global {-f,--follow}'[go on]' '--bytes[at most]:N:' '1:sandbox:_tinderbox_sandboxes' ;;
        events) _arguments $global {-n,--count}'[the last so many]:N:' '1:sandbox:_tinderbox_sandboxes' ;;
        cp) _arguments $global {-u,--user}'[owner]:USER:' '*:file:_files' ;;
        env) _arguments $global '--new-key[make a new key]' ;;
        completion) _arguments '1:shell:(bash zsh fish)' ;;
        *) _arguments $global ;;
      esac ;;
  esac
}
if [[ $funcstack[1] == _tinderbox ]]; then _tinderbox "$@"; else compdef _tinderbox tinderbox; fi
)script";

constexpr std::string_view kFish = R"script(# fish completion for tinderbox
set -l commands run exec create ls ps inspect rm timeout pause resume fork snapshot rollback cp logs events template templates prune volume secret key recover info doctor bench env version completion
complete -c tinderbox -f
complete -c tinderbox -l host -x -d 'Daemon to talk to'
complete -c tinderbox -l json -d 'Answer as JSON'
complete -c tinderbox -l help -d 'Show help'
set -l none "not __fish_seen_subcommand_from $commands"
complete -c tinderbox -n $none -a run -d 'Run a command in a new sandbox'
complete -c tinderbox -n $none -a exec -d 'Run a command in a sandbox that is there'
complete -c tinderbox -n $none -a create -d 'Start a sandbox and print its id'
complete -c tinderbox -n $none -a ls -d 'List sandboxes'
complete -c tinderbox -n $none -a ps -d 'List the commands that run in a sandbox'
complete -c tinderbox -n $none -a inspect -d 'Show everything about sandboxes'
complete -c tinderbox -n $none -a rm -d 'Remove sandboxes'
complete -c tinderbox -n $none -a timeout -d 'Set when a sandbox ends'
complete -c tinderbox -n $none -a pause -d 'Keep sandboxes as they are'
complete -c tinderbox -n $none -a resume -d 'Go on with a paused sandbox'
complete -c tinderbox -n $none -a fork -d 'Make sandboxes of one that runs'
complete -c tinderbox -n $none -a snapshot -d 'Keep the state of a sandbox'
complete -c tinderbox -n $none -a rollback -d 'Put a sandbox back to a snapshot'
complete -c tinderbox -n $none -a template -d 'What sandboxes are created from'
complete -c tinderbox -n $none -a prune -d 'Remove what nobody can use'
complete -c tinderbox -n $none -a volume -d 'Directories that outlive sandboxes'
complete -c tinderbox -n $none -a recover -d 'Data in lost+found'
complete -c tinderbox -n $none -a secret -d 'Values that sandboxes use unseen'
complete -c tinderbox -n $none -a key -d 'API keys of the daemon'
complete -c tinderbox -n $none -a cp -d 'Copy files in or out'
complete -c tinderbox -n $none -a logs -d 'Show the serial console'
complete -c tinderbox -n $none -a events -d 'Show what happened to sandboxes'
complete -c tinderbox -n $none -a templates -d 'List templates'
complete -c tinderbox -n $none -a info -d 'Show what the daemon runs on'
complete -c tinderbox -n $none -a doctor -d 'Check what works on this host'
complete -c tinderbox -n $none -a bench -d 'Measure how long one waits for sandboxes'
complete -c tinderbox -n $none -a env -d 'Print variables for E2B SDKs'
complete -c tinderbox -n $none -a version -d 'Show the version'
complete -c tinderbox -n $none -a completion -d 'Print a completion script'
complete -c tinderbox -n '__fish_seen_subcommand_from exec ps inspect rm timeout logs events pause resume fork rollback' -a '(tinderbox ls -q 2>/dev/null)'
complete -c tinderbox -n '__fish_seen_subcommand_from run exec' -s i -l interactive -d 'Forward standard input'
complete -c tinderbox -n '__fish_seen_subcommand_from run exec' -s t -l tty -d 'Give it a terminal'
complete -c tinderbox -n '__fish_seen_subcommand_from run exec create' -s e -l env -x -d 'KEY=VALUE'
complete -c tinderbox -n '__fish_seen_subcommand_from run exec' -s w -l workdir -x -d 'Working directory'
complete -c tinderbox -n '__fish_seen_subcommand_from run exec cp' -s u -l user -x -d 'User'
complete -c tinderbox -n '__fish_seen_subcommand_from run' -l rm -d 'Remove afterwards'
complete -c tinderbox -n '__fish_seen_subcommand_from run' -l id-file -r -d 'Write the id to a file'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -s T -l template -x -d 'Template'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -l memory -x -d 'MiB'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -l cpus -x -d 'Virtual CPUs'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -l timeout -x -d '90s, 10m, 1h30m'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -l name -x -d 'Name'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -l no-internet -d 'No public addresses'
complete -c tinderbox -n '__fish_seen_subcommand_from run create ls' -s m -l metadata -x -d 'KEY=VALUE'
complete -c tinderbox -n '__fish_seen_subcommand_from snapshot' -a 'create ls rm verify'
complete -c tinderbox -n '__fish_seen_subcommand_from template' -a 'ls rm inspect verify'
complete -c tinderbox -n '__fish_seen_subcommand_from recover' -a 'ls adopt rm'
complete -c tinderbox -n '__fish_seen_subcommand_from recover' -a '(tinderbox recover ls -q 2>/dev/null)'
complete -c tinderbox -n '__fish_seen_subcommand_from volume' -a 'create ls rm'
complete -c tinderbox -n '__fish_seen_subcommand_from volume' -a '(tinderbox volume ls -q 2>/dev/null)'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -s v -l volume -x -d 'Volume, as NAME:PATH'
complete -c tinderbox -n '__fish_seen_subcommand_from key' -a 'create ls rm rotate'
complete -c tinderbox -n '__fish_seen_subcommand_from key' -a '(tinderbox key ls -q 2>/dev/null)'
complete -c tinderbox -n '__fish_seen_subcommand_from key' -l expires -r -d 'Refused after this time'
complete -c tinderbox -n '__fish_seen_subcommand_from key' -l grace -r -d 'The old key works for this time'
complete -c tinderbox -n '__fish_seen_subcommand_from key' -s l -l label -r -d 'Who uses it'
complete -c tinderbox -n '__fish_seen_subcommand_from secret' -a 'set ls rm'
complete -c tinderbox -n '__fish_seen_subcommand_from secret' -a '(tinderbox secret ls -q 2>/dev/null)'
complete -c tinderbox -n '__fish_seen_subcommand_from secret' -l file -r -d 'File that holds the value'
complete -c tinderbox -n '__fish_seen_subcommand_from snapshot rollback' -a '(tinderbox snapshot ls -q 2>/dev/null)'
complete -c tinderbox -n '__fish_seen_subcommand_from template' -a '(tinderbox templates -q 2>/dev/null)'
complete -c tinderbox -n '__fish_seen_subcommand_from pause snapshot' -l disk-only -d 'Keep the disk alone'
complete -c tinderbox -n '__fish_seen_subcommand_from pause' -l require-healthy -d 'Refuse where its agent is silent'
complete -c tinderbox -n '__fish_seen_subcommand_from resume' -l reboot -d 'Boot it from its disk'
complete -c tinderbox -n '__fish_seen_subcommand_from fork events' -s n -l count -x -d 'How many'
complete -c tinderbox -n '__fish_seen_subcommand_from resume fork' -l timeout -x -d '90s, 10m, 1h30m'
complete -c tinderbox -n '__fish_seen_subcommand_from run create resume' -l on-timeout -x -a 'pause kill'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -l auto-resume -d 'Traffic resumes it'
complete -c tinderbox -n '__fish_seen_subcommand_from run create' -l cold -d 'Boot it'
complete -c tinderbox -n '__fish_seen_subcommand_from run create resume fork rollback' -l timings -d 'Tell how long the start took'
complete -c tinderbox -n '__fish_seen_subcommand_from snapshot' -l name -x -d 'Name'
complete -c tinderbox -n '__fish_seen_subcommand_from ls' -s q -l quiet -d 'Ids only'
complete -c tinderbox -n '__fish_seen_subcommand_from ls' -l state -x -a 'running paused no-space dead failed'
complete -c tinderbox -n '__fish_seen_subcommand_from rm' -s a -l all -d 'Every sandbox'
complete -c tinderbox -n '__fish_seen_subcommand_from rm' -s f -l force -d 'Absence is no error'
complete -c tinderbox -n '__fish_seen_subcommand_from logs' -s f -l follow -d 'Go on with what comes'
complete -c tinderbox -n '__fish_seen_subcommand_from logs' -l bytes -x -d 'At most so many'
complete -c tinderbox -n '__fish_seen_subcommand_from env' -l new-key -d 'Make a new key'
complete -c tinderbox -n '__fish_seen_subcommand_from cp' -F
complete -c tinderbox -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
)script";

}  // namespace

base::Result<int> Execute(Session&, const CompletionOptions& options) {
  TRY(Print(options.shell == "bash" ? kBash : options.shell == "zsh" ? kZsh : kFish));
  return 0;
}

}  // namespace tinderbox::cli
