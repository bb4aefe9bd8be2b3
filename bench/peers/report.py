#!/usr/bin/env python3
"""report.py RESULTS [--docs]: the table and charts of what run.py measured; run.py calls it, too.

The table is printed and written beside the results, as are the charts. With --docs they go into the documents: the table
between the two marks in docs/benchmarks.md, the charts to docs/.
"""
import argparse
import html
import json
import math
import os
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENT = os.path.join(ROOT, 'docs', 'benchmarks.md')
LEVEL = 1.01  # times; less is no difference that such rounds show
MARKS = '<!-- bench-peers: written by bench/peers/report.py -->\n', '<!-- bench-peers: end -->\n'


def middle(value):
    return statistics.median(value) if isinstance(value, list) else value


def last(values):
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


def time_text(us):
    return '%.0f us' % us if us < 1000 else '%.2f ms' % (us / 1e3) if us < 10000 else '%.0f ms' % (us / 1e3)


def number(value):
    return '%.0f' % value if value >= 100 else '%.1f' % value if value >= 1 else '%.2f' % value


def range_of(values, text):
    return '%s (%s to %s)' % (text(middle(values)), text(min(values)), text(max(values)))


def times_text(times):
    return 'by far, since it causes none' if times > 1e4 else '%.3g times' % times


class Measure:
    """One figure of a peer: where it is in the results, what it is called, and whether less is better."""

    def __init__(self, name, title, text, cell=None, less=True, by_rounds=False):
        self.name, self.title, self.text, self.less, self.by_rounds = name, title, text, less, by_rounds
        self.cell = cell or (lambda value: text(middle(value)))

    def value(self, result):
        return middle(result[self.name]) if self.name in result else None

    def ahead(self, one, other):
        """By how many times one result is better than another: where all took turns, in the median of the rounds, since what
        else the machine did in a round met both."""
        pairs = [(self.value(one), self.value(other))]
        if self.by_rounds and one['storage'] == other['storage']:
            pairs = zip(one[self.name], other[self.name])
        ratios = [max(a, 1e-3) / max(b, 1e-3) for a, b in pairs]
        return statistics.median(1 / ratio if self.less else ratio for ratio in ratios)


def measures(unit, facts):
    return [
        Measure('median_us', 'acquire + release, one caller', time_text, lambda values: range_of(values, time_text),
                by_rounds=True),
        Measure('p99_us', 'of these, 99 % below', time_text, by_rounds=True),
        Measure('per_second', 'pairs/s of %d callers' % facts['callers'], number, lambda values: range_of(values, number),
                less=False, by_rounds=True),
        Measure('handover_us', 'hand-over to another process', time_text,
                lambda values: '%s, 99 %% below %s' % (time_text(middle(values)), time_text(last(values)))),
        Measure('load_together', '%s/s per waiter, %d in a process' % (unit, facts['waiters']), number),
        Measure('load_apart', '%s/s per waiter, in %d processes' % (unit, facts['processes']), number),
    ]


# What belongs into one table: its title, and the servers.
GROUPS = [('redis', 'Redis', ['Redis']), ('quorum', 'Five Redis servers, of which a majority decides', ['Quorum']),
          ('sql', 'PostgreSQL, and ZooKeeper for Curator', ['PostgreSQL', 'ZooKeeper']),
          ('shell', 'Commands', ['Folder'])]


def label(result, group):
    """Servers are named where there are several."""
    return result['peer'] if len(group[2]) == 1 else '%s on %s' % (result['peer'], result['storage'])


def units(results):
    return ' or '.join(dict.fromkeys(result['unit'] for result in results if 'unit' in result)) or 'requests'


def table(group, results, facts):
    columns = measures(units(results), facts)
    lines = ['| | ' + ' | '.join(column.title for column in columns) + ' |', '|---' * (len(columns) + 1) + '|']
    for result in results:
        name = label(result, group)
        if 'skipped' in result:
            reason = result['skipped'].replace(ROOT + os.sep, '')  # no folder of this machine
            lines.append('| %s | skipped: %s |' % (name, reason) + ' |' * (len(columns) - 1))
            continue
        cells = [column.cell(result[column.name]) if column.name in result else 'no waiting' for column in columns]
        lines.append('| %s | %s |' % ('**%s**' % name if result['ours'] else name, ' | '.join(cells)))
    return lines


def comparison(group, results, facts):
    """Who is ahead of ours, and in what: what we lose, in words."""
    lines = []
    peers = [result for result in results if not result['ours'] and 'skipped' not in result]
    for ours in results:
        if not ours['ours'] or 'skipped' in ours:
            continue
        lost, won, level = [], 0, 0
        for measure in measures(units(results), facts):
            if measure.name not in ours:
                continue
            # Packets of one server and transactions of another are not the same thing.
            rivals = [peer for peer in peers if measure.name in peer and
                      (not measure.name.startswith('load') or peer['unit'] == ours['unit'])]
            compared = sorted(((measure.ahead(peer, ours), label(peer, group)) for peer in rivals), reverse=True)
            better = ['%s %s' % (name, times_text(times)) for times, name in compared if times > LEVEL]
            won += sum(times < 1 / LEVEL for times, _ in compared)
            level += sum(1 / LEVEL <= times <= LEVEL for times, _ in compared)
            if better:
                lost.append('%s: %s' % (measure.title, ', '.join(better)))
        lines.append('- **Ahead of %s:** %s. It is ahead in %d comparisons%s.' %
                     (label(ours, group), '; '.join(lost) or 'nobody', won,
                      ', and level within 1 %% in %d' % level if level else ''))
    return lines


def versions(results):
    return '; '.join(dict.fromkeys(result[name] for name in ('server', 'version', 'runtime') for result in results
                                   if name in result)) + '.'


# Charts.

WIDTH, ROW, LEFT, GAP = 960, 20, 190, 40
STYLE = '''
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-size: 14px; font-weight: 600 }
.bar { fill: #9aa5b1 } .ours { fill: #2f6fde } .name { text-anchor: end }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .bar { fill: #65707c } .ours { fill: #5b9bff }
}'''


def panel(measure, group, results, x, y):
    """Bars of one measure, the best first, on a logarithmic scale; returns their lines and the height."""
    rows = [(measure.value(result), label(result, group), result['ours'])
            for result in results if measure.name in result]
    rows.sort(reverse=not measure.less)
    lines = ['<text class="title" x="%d" y="%d">%s</text>' % (x, y + 14, html.escape(measure.title))]
    if not rows:
        return lines, 0
    smallest = max(min(value for value, _, _ in rows), 1e-2)
    span = math.log10(max(max(value for value, _, _ in rows), smallest) / smallest) + 0.3
    width = WIDTH / 2 - GAP - LEFT - 70
    for value, name, ours in rows:
        y += ROW
        length = width * (math.log10(max(value, smallest) / smallest) + 0.3) / span
        lines.append('<text class="name" x="%d" y="%d">%s</text>' % (x + LEFT - 8, y + 14, html.escape(name)))
        lines.append('<rect class="%s" x="%d" y="%d" width="%.1f" height="14" rx="2"/>' %
                     ('ours' if ours else 'bar', x + LEFT, y + 3, length))
        lines.append('<text x="%.1f" y="%d">%s</text>' % (x + LEFT + length + 6, y + 14, measure.text(value)))
    return lines, (len(rows) + 2) * ROW


def chart(group, results, facts):
    all_measures = measures(units(results), facts)
    lines, bottom = [], 30
    for pair in zip(all_measures[::2], all_measures[1::2]):
        drawn = [panel(measure, group, results, 10 + side * WIDTH // 2, bottom) for side, measure in enumerate(pair)]
        lines += sum((panel_lines for panel_lines, _ in drawn), [])
        bottom += max(height for _, height in drawn)
    title = '%s: the best is on top; scales are logarithmic; load %s' % (
        group[1], ' to '.join(map(str, facts['load'])))
    return '\n'.join(['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">' % (WIDTH, bottom),
                      '<title>%s</title><style>%s</style>' % (html.escape(title), STYLE),
                      '<text x="10" y="16">%s</text>' % html.escape(title)] + lines + ['</svg>\n'])


def text_of(facts, charts):
    lines = ['Measured on %s on %s, at a load of %s to %s; medians of %d rounds of %g s in which all '
             'take turns, with the range of the rounds in brackets, and of %d hand-overs.' %
             (facts['date'], facts['machine'], *facts['load'], facts['rounds'], facts['seconds'], facts['handovers']), '']
    for group in GROUPS:
        results = [result for result in facts['results'] if result['storage'] in group[2]]
        if not results:
            continue
        lines += ['### ' + group[1], '', versions(results), ''] + table(group, results, facts) + ['']
        lines += comparison(group, results, facts) + ['', '![%s](peers-%s.svg)' % (group[1], group[0]), '']
        charts['peers-%s.svg' % group[0]] = chart(group, [one for one in results if 'skipped' not in one], facts)
    return '\n'.join(lines)


def write(path, docs=False):
    with open(path, encoding='utf-8') as file:
        facts = json.load(file)
    charts = {}
    text = text_of(facts, charts)
    place = os.path.join(ROOT, 'docs') if docs else os.path.dirname(os.path.abspath(path))
    for name, content in charts.items():
        with open(os.path.join(place, name), 'w', encoding='utf-8') as file:
            file.write(content)
    if docs:
        with open(DOCUMENT, encoding='utf-8') as file:
            before, _, rest = file.read().partition(MARKS[0])
        _, mark, after = rest.partition(MARKS[1])
        if not mark:
            sys.exit('report.py: %s lacks the marks between which the table goes' % DOCUMENT)
        with open(DOCUMENT, 'w', encoding='utf-8') as file:
            file.write(before + MARKS[0] + text + MARKS[1] + after)
    else:
        with open(os.path.join(place, 'peers.md'), 'w', encoding='utf-8') as file:
            file.write(text)
        print(text)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Makes a table and charts of what run.py measured.')
    parser.add_argument('results', help='results.json of run.py')
    parser.add_argument('--docs', action='store_true', help='put them into the documents')
    arguments = parser.parse_args()
    write(arguments.results, arguments.docs)
