"""What the documents say exists: functions, options, commands, files; and nothing that exists is left out.

Arguments: the source folder, the dlock command.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from tap import check, equal, main, needs, read, run

SOURCE, DLOCK = sys.argv[1:3]
OPTION = re.compile(r'(?<![\w-])(--[a-z][a-z-]*|-[a-zA-Z])(?![\w-])')


def text_of(*path):
    return read(os.path.join(SOURCE, *path))


def code_of(header):
    """A public header without comments."""
    return re.sub(r'/\*.*?\*/', ' ', text_of('include', header), flags=re.DOTALL)


def page(name):
    """A man page as a person reads it."""
    output = subprocess.run([needs('mandoc'), '-Tutf8', '-Owidth=200', os.path.join(SOURCE, 'man', name)],
                            stdout=subprocess.PIPE, check=True).stdout.decode()
    return re.sub('.\x08', '', output)  # bold and underlined


def missing(names, text):
    return sorted(name for name in set(names) if not re.search(r'(?<!\w)%s(?!\w)' % re.escape(name), text))


def markdown():
    found = []
    for path, folders, names in os.walk(SOURCE):
        folders[:] = [name for name in folders if not name.startswith(('.', 'build')) and name != 'node_modules']
        found += [os.path.join(path, name) for name in names if name.endswith('.md')]
    return sorted(found)


def shell_lines(name):
    """The command lines of the sh blocks of a document, without comments."""
    for block in re.findall(r'```(?:sh|)\n(.*?)```', text_of(name), re.DOTALL):
        for line in block.splitlines():
            yield re.sub(r'\s+#.*', '', line)


def listed(text):
    """The options that a help text lists; not those of its examples."""
    found = re.findall(r'^ +(-[^<>\n]*?)(?:  .*)?$', text, re.MULTILINE)
    return set(OPTION.findall('\n'.join(found)))


def commands():
    """The subcommands, from `dlock --help`."""
    found = re.findall(r'^\s+(?:dlock )?([a-z]+)\b', run([DLOCK, '--help']), re.MULTILINE)
    return [name for name in dict.fromkeys(found)
            if subprocess.run([DLOCK, name, '--help'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0]


def options(command):
    return listed(run([DLOCK, command, '--help']))


def case_functions():
    declared = re.findall(r'\bDLOCK_API\b[^;(#]*?\b(dlock_\w+)\s*\(', code_of('dlock.h') + code_of('dlock_storage.h'))
    source = text_of('man', 'libdlock.3')
    synopsis, description = source.split('.Sh DESCRIPTION')
    described = re.findall(r'\.Fn (dlock_\w+)', description)
    equal(sorted(re.findall(r'\.Fn (dlock_\w+)', synopsis)), sorted(declared), 'functions in the synopsis')
    equal(sorted(set(described)), sorted(declared), 'functions that are described')


def case_names():
    header = text_of('include', 'dlock.h')
    names = ['DLOCK_' + name for name in re.findall(r'^\s+X\((\w+), \d+,', header, re.MULTILINE)]
    names += ['DLOCK_EVENT_' + name for name in re.findall(r'^\s+X\((\w+)\)', header, re.MULTILINE)]
    names += re.findall(r'#define (DLOCK_\w+_(?:MAX|MIN|SIZE|INIT|MAX_MS|MIN_MS|FOREVER))\b', header)
    check(len(names) > 20, 'the header is read wrongly: %r' % names)
    structs = r'typedef struct dlock_(?:factory_options|acquire_options|info|stats) {(.*?)}'
    for fields in re.findall(structs, code_of('dlock.h'), re.DOTALL):
        names += re.findall(r'(\w+)(?:\[\w+\])?;', fields)
    names = [name for name in names if name != 'size']
    equal(missing(names, text_of('man', 'libdlock.3')), [], 'names that libdlock(3) lacks')


def case_options():
    found = commands()
    check('run' in found and 'list' in found, 'dlock --help lists no commands: %r' % found)
    text = page('dlock.1')
    for command in found:
        check(options(command), 'dlock %s --help has no options' % command)
        equal(missing(options(command), text), [], 'options of dlock %s that dlock(1) lacks' % command)
        equal(missing(['dlock ' + command], text), [], 'commands that dlock(1) lacks')


def case_no_other_options():
    known = set().union(*(options(command) for command in commands())) | listed(run([DLOCK, '--help']))
    # Flags in the examples of the page that belong to other programs would be found here too: keep those out of it.
    flags = set(re.findall(r'^\.It (.*)', text_of('man', 'dlock.1'), re.MULTILINE))
    named = {'-' + name for line in flags for name in re.findall(r'\bFl (-?[\w-]+)', line.replace('\\-', '-'))}
    check(len(named) > 10, 'dlock(1) is read wrongly: %r' % named)
    equal(sorted(named - known), [], 'options of dlock(1) that do not exist')


def case_readme_commands():
    known = commands()
    used = 0
    for line in shell_lines('README.md'):
        found = re.search(r'\bdlock ([a-z]+)(.*)', line)
        if found:
            used += 1
            check(found[1] in known, 'README.md: there is no dlock %s' % found[1])
            given = set(OPTION.findall(found[2].split(' -- ')[0]))
            equal(sorted(given - options(found[1])), [], 'README.md: options of dlock %s' % found[1])
    check(used > 3, 'README.md shows only %d uses of dlock' % used)


def case_make_goals():
    goals = set(re.findall(r'^([a-z]+):', text_of('Makefile'), re.MULTILINE))
    for path in markdown():
        text = read(path)
        used = set(re.findall(r'`make ([a-z]+)', text)) | set(re.findall(r'^\s*make ([a-z]+)', text, re.MULTILINE))
        equal(sorted(used - goals), [], '%s: goals that the Makefile lacks' % os.path.relpath(path, SOURCE))


def case_links():
    for path in markdown():
        for target in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', read(path)):
            if '://' not in target:
                check(os.path.exists(os.path.join(os.path.dirname(path), target)),
                      '%s: there is no %s' % (os.path.relpath(path, SOURCE), target))


main([('every public function is in libdlock(3)', case_functions),
      ('every status, event, limit and option struct is in libdlock(3)', case_names),
      ('every command and option is in dlock(1)', case_options),
      ('dlock(1) has no option that does not exist', case_no_other_options),
      ('the commands of the README exist', case_readme_commands),
      ('every make goal in the documents exists', case_make_goals),
      ('every link between documents leads somewhere', case_links)])
