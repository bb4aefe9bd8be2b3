"""Help, manual page and completion of dlock name the same options, and none lacks one; what an option given twice
means."""
import json
import os
import re
import subprocess

from world import DLOCK, World, cases, check, equal, main, needs, read

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
COMMANDS = ('run', 'acquire', 'release', 'extend', 'status', 'list', 'break', 'check', 'bench')


def helped(command):
    """{'--wait': '-w', '--json': '', ...} as --help of a command (None: of dlock) tells."""
    with World() as w:
        done = w.expect(0, *([command] if command else []), '--help')
    equal(done.err, '', 'standard error')
    found = re.findall(r'^  (?:(-\w),|   ) (--[a-z-]+)( \S+)?', done.out, re.MULTILINE)
    check(found, done.out)
    return {name: letter for letter, name, _ in found}


def case_help_of_each_command():
    with World() as w:
        for command in COMMANDS:
            done = w.expect(0, command, '--help')
            check(done.out.startswith('Usage: dlock %s [options]' % command), done.out)
            check('\nExamples:\n  ' in done.out, 'no examples in the help of ' + command)
            equal(w.expect(0, command, '-h').out, done.out, '-h of ' + command)
            check(max(map(len, done.out.splitlines())) <= 130, 'a line of the help of %s is too long' % command)


def case_help_of_dlock_names_each_command():
    with World() as w:
        out = w.expect(0, '--help').out
    equal(tuple(re.findall(r'^  (\w+) ', out, re.MULTILINE)), COMMANDS, 'commands in dlock --help')


def case_version():
    with World() as w:
        version = w.expect(0, '--version').out
        check(re.match(r'dlock \d+\.\d+\.\d+\n$', version), version)
        equal(w.expect(0, 'run', '-V').out, version, 'dlock run -V')


def case_man_page_names_every_option_and_no_other():
    text = read(os.path.join(ROOT, 'man', 'dlock.1'))
    documented = {}
    for item in re.findall(r'^\.It Fl (.*)$', text, re.MULTILINE):
        letter = re.match(r'(\w) , Fl -', item)
        name = '--' + re.search(r'(?:^|Fl )-([a-z-]+)', item).group(1)
        documented[name] = '-' + letter.group(1) if letter else ''
    known = helped(None)
    for command in COMMANDS:
        known.update(helped(command))
    equal(documented, known, 'options in dlock.1')


def case_man_page_says_which_commands_take_an_option():
    text = read(os.path.join(ROOT, 'man', 'dlock.1'))
    section = text[text.index('.Sh OPTIONS'):text.index('.Sh STORAGES')]
    for item in re.split(r'^\.It ', section, flags=re.MULTILINE)[1:]:
        name = '--' + re.search(r'(?:^Fl |Fl )-([a-z-]+)', item).group(1)
        listed = re.search(r'^\.Pq Cm (.*)$|^\((all)\)$', item, re.MULTILINE)
        check(listed, 'dlock.1 does not say which commands take ' + name)
        takes = set(COMMANDS) if listed.group(2) else set(listed.group(1).split(' , '))
        equal(takes, {command for command in COMMANDS if name in helped(command)}, 'commands that take ' + name)


def case_man_page_names_every_command_and_status():
    text = read(os.path.join(ROOT, 'man', 'dlock.1'))
    for command in COMMANDS:
        check(re.search(r'^\.Cm %s$' % command, text, re.MULTILINE), command + ' is not in the synopsis')
    source = read(os.path.join(ROOT, 'cli', 'report.h'))
    section = text[text.index('.Sh EXIT STATUS'):]
    for number in re.findall(r'STATUS_\w+ = (\d+)', source):
        check(re.search(r'^\.It .*\b%s\b' % number, section, re.MULTILINE), 'exit status %s is not in dlock.1' % number)


def case_man_page_is_well_formed():
    mandoc = needs('mandoc')
    done = subprocess.run([mandoc, '-Tlint', '-Wwarning', os.path.join(ROOT, 'man', 'dlock.1')], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    equal((done.returncode, done.stdout), (0, ''), 'mandoc')


def store_of_the_command(w, *options):
    """DLOCK_STORE as the command of dlock run has it, in a storage that takes several URLs."""
    w.env['DLOCK_MODULE_PATH'] = os.environ['MODULES']
    done = w.expect(0, 'run', *options, '--', 'sh', '-c', 'echo "$DLOCK_STORE"')
    equal(done.err, '', 'standard error')
    return done.out[:-1]


def case_store_given_several_times_is_one_of_several_urls():
    a, b, c = 'several://a', 'several://b', 'several:/c d'
    with World() as w:
        equal(store_of_the_command(w, '-S', a, '-S', b, '-S', c, 'k'), ' '.join([a, b, c]), 'the store')
        equal(store_of_the_command(w, '--store=' + c, 'k', '-S' + b, '--store', a), ' '.join([c, b, a]), 'the store')
        equal(store_of_the_command(w, '-S', a + ' ' + b, 'k', '-S', c), ' '.join([a, b, c]), 'the store')
        many = ['several://%s%d' % ('x' * 60, number) for number in range(200)]
        equal(store_of_the_command(w, *(word for url in many for word in ('-S', url)), 'k'), ' '.join(many), 'the store')


def case_store_of_several_urls_in_one_text():
    with World() as w:
        both = 'several://a   several://b '
        equal(store_of_the_command(w, '-S', both, 'k'), both, 'the store')
        w.env['DLOCK_STORE'] = both
        equal(store_of_the_command(w, 'k'), both, 'the store')


def case_each_store_counts_in_every_command():
    with World() as w:
        options = ['-S', 'sqlite:' + w.file('a.db'), '-S', 'sqlite:' + w.file('b.db')]
        for command in COMMANDS:
            words = {'list': [], 'check': [], 'bench': [], 'run': ['k', 'true'],
                     'break': ['--force', 'k']}.get(command, ['k'])
            w.env['DLOCK_OWNER'] = 'a:b:c'
            done = w.expect(64, command, *options, *words)
            check('several URLs were given, but sqlite takes one' in done.err, done)
        equal(os.listdir(w.path), [], 'files')


def case_further_store_must_begin_as_a_url():
    with World() as w:
        for value in ('secret.db', ' sqlite:/secret', 'sqlite:secret', '/secret', ':/secret', 'sql_ite:/secret'):
            done = w.expect(64, 'run', '-S', 'sqlite:' + w.file('a.db'), '-S', value, 'k', 'true')
            equal(done.err, 'dlock: run: --store is given again; expected a further URL that starts with NAME:/\n'
                  "Try 'dlock run --help'.\n", 'standard error after -S ' + value)
        for values in (['', 'sqlite:/a'], ['sqlite:/a', '']):
            done = w.expect(64, 'list', '-S', values[0], '-S', values[1])
            check('--store is empty; expected URL' in done.err, done)
        equal(os.listdir(w.path), [], 'files')


def case_of_another_text_the_last_counts():
    with World() as w:
        owner = json.loads(w.expect(0, 'acquire', '--json', 'k').out)['owner']
        w.expect(79, 'release', '--owner', owner, '--owner', 'a:b:c', 'k')
        w.expect(0, 'release', '--owner', 'a:b:c', '--owner', owner, 'k')


def complete(*words):
    """What bash offers for the last word."""
    script = '''
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dlock
        printf '%s\\n' "${COMPREPLY[@]}"
    '''
    done = subprocess.run([needs('bash'), '--norc', '-c', script, 'bash',
                           os.path.join(ROOT, 'completions', 'dlock.bash'), 'dlock'] + list(words),
                          stdout=subprocess.PIPE, universal_newlines=True, check=True)
    return [line for line in done.stdout.splitlines() if line]


def case_completion_offers_every_option_and_no_other():
    for command in COMMANDS:
        known = helped(command)
        equal(sorted(complete(command, '-')), sorted(list(known) + [letter for letter in known.values() if letter]),
              'options offered after dlock ' + command)


def case_completion_of_commands_and_values():
    equal(sorted(set(complete('')) - {'-h', '--help', '-V', '--version'}), sorted(COMMANDS), 'commands offered')
    equal(complete('run', '--on-lost', ''), ['kill', 'term', 'ignore'], 'values of --on-lost')
    equal(complete('run', '--on-lost', '=', 'k'), ['kill'], 'values of --on-lost=k')


def case_completion_of_the_command_to_run():
    check('true' in complete('run', '-w', '5', 'key', 'tru'), 'no command offered after the key')
    check('true' in complete('run', '-S', 'a:/', '-S', 'b:/', 'key', 'tru'), 'no command offered after two stores')
    check('true' in complete('run', '--wait', '=', '5', 'key', '--', 'tru'), 'no command offered after --')
    equal(complete('run', 'key', '--no-ren'), ['--no-renew'], 'options after the key')


check(os.path.isfile(DLOCK), '$DLOCK is not a file')
main(cases(globals()))
