/**
 * Completion script of each shell. A script passes the words up to the cursor to `anyserve __complete SHELL` and reads the
 * kind of completion (`values`, `nospace` or `files`), then one value per line. It discards stderr, so that nothing is
 * printed into the prompt.
 */
export const COMPLETION_SCRIPTS = {
  bash: `# bash completion for anyserve. To load it in each new shell, add this line to ~/.bashrc:
#   source <(anyserve completion bash)
_anyserve() {
  local line how=''
  COMPREPLY=()
  while IFS= read -r line; do
    if [ -z "$how" ]; then how=$line; else COMPREPLY+=("$line"); fi
  done < <(anyserve __complete bash "\${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
  case $how in
    nospace) compopt -o nospace 2>/dev/null ;;
    files) compopt -o default 2>/dev/null ;;
  esac
  return 0
}
complete -F _anyserve anyserve
`,
  zsh: `#compdef anyserve
# zsh completion for anyserve. To load it in each new shell, add this line to ~/.zshrc, after compinit:
#   source <(anyserve completion zsh)
# or save this script as _anyserve in a directory of $fpath.
_anyserve() {
  local -a lines values
  lines=("\${(@f)$(anyserve __complete zsh "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null)}")
  values=("\${(@)lines[2,-1]}")
  case $lines[1] in
    files)
      [[ $PREFIX == --*=* ]] && compset -P '*='
      _files
      ;;
    nospace) (( $#values )) && _describe -t values anyserve values -S '' ;;
    *) (( $#values )) && _describe -t values anyserve values ;;
  esac
}
if [[ "\${zsh_eval_context[-1]}" == loadautofunc ]]; then
  _anyserve "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }
  compdef _anyserve anyserve
fi
`,
  fish: `# fish completion for anyserve. To load it in each new shell, run:
#   anyserve completion fish > ~/.config/fish/completions/anyserve.fish
function __anyserve_complete
    set -l words (commandline -opc)
    set -e words[1]
    set -l lines (anyserve __complete fish $words (commandline -ct) 2>/dev/null)
    if test "$lines[1]" = files
        set -l word (string unescape -- (commandline -ct))
        set -l option (string match -r -- '^--[^=]*=' "$word")
        for path in (__fish_complete_path (string replace -- "$option" '' "$word"))
            printf '%s\\n' "$option$path"
        end
    else
        set -e lines[1]
        string join \\n -- $lines
    end
end
complete -c anyserve -e
complete -c anyserve -f -a '(__anyserve_complete)'
`,
} as const;

/** A shell with a completion script. */
export type Shell = keyof typeof COMPLETION_SCRIPTS;

/** Names of the shells. */
export const SHELLS = Object.keys(COMPLETION_SCRIPTS) as readonly Shell[];
