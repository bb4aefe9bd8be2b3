"""The public headers stand alone in every language they are meant for, and libdlock.so exports what they declare.

Arguments: the include folder, libdlock.map, libdlock.so.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from tap import Folder, check, equal, main, needs, read, run, write

INCLUDE, MAP, LIBRARY = sys.argv[1:4]
HEADERS = ('dlock.h', 'dlock_storage.h')
WARNINGS = ['-Wall', '-Wextra', '-Wpedantic', '-Werror']


def declared():
    """Names that the headers declare with DLOCK_API."""
    names = set()
    for header in HEADERS:
        text = re.sub(r'/\*.*?\*/', ' ', read(os.path.join(INCLUDE, header)), flags=re.DOTALL)
        text = re.sub(r'^\s*#(?:[^\n\\]|\\\n|\\.)*', ' ', text, flags=re.MULTILINE)
        found = re.findall(r'\bDLOCK_API\b[^;(]*?\b(\w+)\s*\(', text)
        equal(len(found), len(re.findall(r'\bDLOCK_API\b', text)), header + ': declarations with DLOCK_API')
        names |= set(found)
    return names


def mapped():
    """Names that the map lists as global, and the name of its version node."""
    text = re.sub(r'/\*.*?\*/', ' ', read(MAP), flags=re.DOTALL)
    node, names = re.match(r'\s*(\w+)\s*{\s*global:(.*?)local:\s*\*;\s*};\s*$', text, re.DOTALL).groups()
    return node, re.findall(r'[^\s;]+', names)


def exported():
    """(name, version) of what the library exports."""
    pairs = set()
    for line in run([needs('nm'), '--dynamic', '--defined-only', '--with-symbol-versions', LIBRARY]).splitlines():
        _, kind, symbol = line.split()
        name, _, version = symbol.partition('@')
        if kind != 'A':
            pairs.add((name, version.lstrip('@')))
    return pairs


def case_declared_is_mapped():
    node, names = mapped()
    equal(node, 'DLOCK_0', 'version node')
    equal(sorted(names), sorted(set(names)), 'names of the map, each once')
    equal(sorted(names), sorted(declared()), 'names of the map')


def case_mapped_is_exported():
    equal(sorted(exported()), sorted((name, 'DLOCK_0') for name in mapped()[1]), 'exports of the library')


def case_names_are_ours():
    for header in HEADERS:
        for name in re.findall(r'^\s*#\s*define\s+(\w+)', read(os.path.join(INCLUDE, header)), re.MULTILINE):
            check(name.startswith('DLOCK_'), '%s defines %s' % (header, name))
    for name in declared():
        check(name.startswith('dlock_'), 'DLOCK_API %s' % name)


def compiles(header, compiler, language, standard):
    def case():
        with Folder() as folder:
            # Included twice, and alone: it brings what it needs.
            source = write(folder, 'alone.c' if language == 'c' else 'alone.cc',
                           '#include "%s"\n#include "%s"\nint main(void) { return 0; }\n' % (header, header))
            run([needs(compiler), '-x', language, '-std=' + standard, *WARNINGS, '-I', INCLUDE, '-c', source, '-o',
                 os.path.join(folder, 'alone.o')])
    return case


def initializers(compiler, language, standard):
    """The _INIT macros and the maps are usable in each language as well."""
    def case():
        with Folder() as folder:
            source = write(folder, 'use.c' if language == 'c' else 'use.cc', '''
#include <dlock_storage.h>
#define NAME(name, number, text) #name,
static const char *const names[] = {DLOCK_STATUS_MAP(NAME)};
int main(void)
{
    dlock_factory_options factory = DLOCK_FACTORY_OPTIONS_INIT;
    dlock_acquire_options acquire = DLOCK_ACQUIRE_OPTIONS_INIT;
    dlock_stats stats = DLOCK_STATS_INIT;
    return factory.size == sizeof(factory) && acquire.size == sizeof(acquire) && stats.size == sizeof(stats) &&
           names[0][0] == 'O' ? 0 : 1;
}
''')
            program = os.path.join(folder, 'use')
            run([needs(compiler), '-x', language, '-std=' + standard, *WARNINGS, '-I', INCLUDE, source, '-o', program])
            run([program])
    return case


CASES = [('every declared function is in the map, and nothing else', case_declared_is_mapped),
         ('libdlock.so exports what the map lists, and nothing else', case_mapped_is_exported),
         ('every public name starts with dlock', case_names_are_ours)]
for compilers, language, standards in ((('gcc', 'clang-14'), 'c', ('c99', 'c11')),
                                       (('g++', 'clang++-14'), 'c++', ('c++11',))):
    for compiler in compilers:
        for standard in standards:
            for header in HEADERS:
                CASES.append(('%s alone, %s as %s' % (header, compiler, standard),
                              compiles(header, compiler, language, standard)))
            CASES.append(('initializers, %s as %s' % (compiler, standard),
                          initializers(compiler, language, standard)))

main(CASES)
