"""dlock bench: what it prints as a table, as JSON and as a chart; that it leaves nothing behind, also when it is
interrupted. No figure is looked at, but for those that do not depend on time."""
import json
import os
import re
import signal
import xml.etree.ElementTree

from world import World, cases, check, equal, main, read, until

SVG = '{http://www.w3.org/2000/svg}'
OPERATIONS = ('pair', 'threads-8', 'threads-64', 'threads-256', 'async', 'handover', 'start', 'run')
COSTS = [('waiters', 'requests_per_second'), ('waiters', 'bytes_per_waiter'), ('waiters-10', 'requests_per_second'),
         ('renewal', 'renewals_per_second'), ('renewal', 'renewals_per_batch'), ('renewal', 'cpu_us_per_renewal'),
         ('renewal', 'lost'), ('renewal', 'bytes_per_lock'), ('size', 'library_bytes'), ('size', 'command_bytes')]


def bench(w, *arguments):
    """A bench that succeeds. It does much, so on a busy machine it may take long."""
    done = w.end(w.start('bench', *arguments), patience=280)
    equal((done.code, done.err), (0, ''), 'how it ended')
    return done.out


def nothing_held(w):
    equal(json.loads(w.expect(0, 'list', '--json').out), [], 'locks that are held')


def held(w, process, measure):
    """The fences of the locks that a measure holds at this moment."""
    return {each['fence'] for each in json.loads(w.expect(0, 'list', '--json').out)
            if each['key'].startswith('dlock-bench-%d-%s-' % (process.pid, measure))}


def case_table():
    with World() as w:
        lines = bench(w, '--time', '50ms', '--only', 'pair,threads-64,handover,run,renewal,size').splitlines()
        check(lines[0] == 'storage      ' + w.env['DLOCK_STORE'], lines)
        check(max(map(len, lines)) <= 100, 'the table is too wide: %r' % lines)
        equal([line for line in lines if line != line.rstrip()], [], 'lines that end with spaces')
        starts = [line.split()[0] for line in lines if line]
        # A hand-over whose waiter was not asleep in time does not count, so on a busy machine there may be none.
        equal([name for name in starts[3:] if name not in OPERATIONS],
              ['MEASURE', 'MEASURE'] + [measure for measure, _ in COSTS if measure in ('renewal', 'size')], 'rows')
        check({'pair', 'threads-64', 'run'} <= set(starts), lines)
        nothing_held(w)


def case_json_of_every_measure():
    with World() as w:
        found = json.loads(bench(w, '--json', '--time', '0.1'))
        equal((found['storage'], found['time_ms'], found['interrupted']), (w.env['DLOCK_STORE'], 100, False), 'head')
        equal([(each['measure'], each['cost']) for each in found['costs']], COSTS, 'costs')
        by_name = {each['measure']: each for each in found['operations']}
        equal(set(OPERATIONS) - set(by_name) - {'handover'}, set(), 'measures that are missing')
        for row in by_name.values():
            equal(' '.join(row), 'measure what count per_second median_us p99_us p999_us requests batches',
                  'members of an operation')
            check(row['median_us'] > 0 and row['count'] > 0, row)
            equal((row['p99_us'] is None, row['p999_us'] is None), (row['count'] < 100, row['count'] < 1000),
                  'percentiles that are left out of %r' % row)
        # One request each to acquire and to release, whatever the machine does; a batch each when nobody shares it.
        for name in ('pair', 'threads-8', 'threads-64', 'async'):
            equal(by_name[name]['requests'], 2, 'requests of ' + name)
        equal(by_name['pair']['batches'], 2, 'batches of pair')
        nothing_held(w)


def case_only_some_measures():
    with World() as w:
        rows = json.loads(bench(w, '--json', '--time', '10ms', '--only', 'size,start'))
        equal([each['measure'] for each in rows['operations']], ['start'], 'operations')
        equal([each['measure'] for each in rows['costs']], ['size', 'size'], 'costs')
        for wrong in ('pairs', 'pair,', 'pair,,size', 'pair size', ','):
            done = w.expect(64, 'bench', '--only', wrong)
            check(re.search(r"--only: '.*' is no measure; expected some of pair, threads-8, .*, size$", done.err), done)
        w.expect(64, 'bench', '--only', '')
        check("'k' is too much; expected no argument" in w.expect(64, 'bench', 'k').err, 'bench takes a key')


def case_chart():
    with World() as w:
        w.env['DLOCK_STORE'] = 'sqlite:' + w.file('a<&b.db')
        bench(w, '--time', '50ms', '--only', 'pair,start,size', '--svg', w.file('times.svg'))
        root = xml.etree.ElementTree.fromstring(read(w.file('times.svg')))
        texts = [each.text for each in root.iter(SVG + 'text')]
        for text in (w.env['DLOCK_STORE'], 'acquire + release, one thread', 'dlock --version'):
            check(text in texts, '%r is not in the chart: %r' % (text, texts))
        check(len(list(root.iter(SVG + 'rect'))) >= 3, 'the chart has no bars')
        check('prefers-color-scheme' in read(w.file('times.svg')), 'no dark colours')
        done = w.expect(74, 'bench', '--only', 'pair', '--svg', w.file('missing/times.svg'))
        check(done.err.startswith('dlock: cannot write ' + w.file('missing/times.svg')), done)
        equal(done.out, '', 'what was measured before')


def case_interrupted_bench_prints_what_it_found():
    with World() as w:
        process = w.start('bench', '--json', '--time', '1h', '--only', 'pair,async')
        seen = set()
        until(lambda: seen.update(held(w, process, 'pair')) or len(seen) > 2, 'locks are taken')
        process.send_signal(signal.SIGINT)
        done = w.end(process)
        equal(done.code, 128 + signal.SIGINT, 'exit status of\n%r' % done)
        found = json.loads(done.out)
        equal(found['interrupted'], True, 'interrupted')
        equal([each['measure'] for each in found['operations']], ['pair'], 'measures')
        nothing_held(w)


def case_terminated_bench_releases_what_it_holds():
    for measure in ('renewal', 'waiters-10', 'async', 'handover', 'threads-64'):
        with World() as w:
            process = w.start('bench', '--time', '1h', '--only', measure)
            until(lambda: held(w, process, measure), measure + ' holds locks')
            process.send_signal(signal.SIGTERM)
            done = w.end(process)
            equal((done.code, done.err), (128 + signal.SIGTERM, ''), 'how it ended')
            nothing_held(w)


def case_bench_that_nobody_reads_releases_what_it_holds():
    with World() as w:
        process = w.start('bench', '--time', '100ms', '--only', 'pair,async,threads-8')
        process.stdout.close()
        equal(process.wait(), 74, 'exit status')
        error = process.stderr.read()
        check(re.match(r'dlock: cannot write to standard output(: Broken pipe)?\n$', error), error)
        nothing_held(w)


def case_storage_that_fails():
    with World() as w:
        w.env['DLOCK_STORE'] = 'sqlite:' + w.file('missing/locks.db')
        done = w.expect(69, 'bench')
        check(w.file('missing') in done.err, done)
        equal(json.loads(w.expect(69, 'bench', '--json').out)['operations'], [], 'operations')
        w.expect(64, 'bench', '-S', 'sqlite:/a?wrong=1')
        w.expect(69, 'bench', '-S', 'nothing:/a')


def case_storage_that_processes_do_not_share():
    with World() as w:
        w.env['DLOCK_MODULE_PATH'] = os.environ['MODULES']
        done = w.expect(69, 'bench', '-S', 'several://a', '--only', 'handover', '--time', '10s')
        check('two processes held a key at once' in done.err, done)


main(cases(globals()))
