"""checker - reads the history of a torture run and says what in it must not have been. Pure: text in, judgement out.

Used by torture.py; test_checker.py has a hand-written history for each invariant. README.md says what the lines mean.

Whatever is uncertain counts in favour of the storage: a hold begins, for the checker, when its holder was told, and it
ends when that was last known to believe in it; a request without an answer may have been carried out, until its ttl is
over. So what is reported is real, on however slow a machine.
"""
import bisect
import collections
import heapq

INVARIANTS = {
    'overlap': 'two owners never hold a key at one time',
    'command': 'no command under dlock run acts while somebody else holds its key',
    'fence-unique': 'no two holds have one fence',
    'fence-order': 'a later hold has a greater fence',
    'resend-refused': 'an owner that asks again is not refused because of itself',
    'stale': 'whose hold has ended gets no extend and no release any more',
    'late-extend': 'no extend succeeds after a later grant',
    'lost-twice': 'LOST is told once per hold',
    'lost-late': 'LOST is told before validity ends',
    'lost-untold': 'a hold that ends unasked is told as LOST',
    'lost-healthy': 'a healthy lock is not LOST',
    'lost-after-release': 'LOST is not told after the release',
    'held-after-lost': 'a lock that is LOST is held no longer',
    'wait': 'who waits gets a key within its interval when nobody can have it any more',
    'answers': 'calls that no fault touches are answered, as a rule',
    'status': 'no call fails in a way that no fault explains',
    'fenced-update': 'the resource that refuses smaller fences loses no update',
    'unfenced-update': 'the resource that takes all loses what was written while a holder was stopped: this run sees',
    'left-behind': 'nothing is held at the end',
    'crash': 'no client crashes or hangs',
}
BOUND_US = 2000000  # for so long a free key may wait for its waiter beyond the interval; see waits()
SLOWEST_US = 10000000  # no stall is longer
CANCEL_US = 500000  # so long the release of a cancelled acquire may take, if nothing is wrong
TICK_MS = 10        # a storage may tell time by so long ticks
SPARE_US = 250000   # a renewed lock with less time for its renewal than this is not judged; see healthy_loss()
MS = 1000


class Line:
    """One line of a history."""
    __slots__ = ('time', 'who', 'hold', 'word', 'key', 'fields', 'text')

    def __init__(self, text):
        start, _, _ = text.partition(' # ')
        time, self.who, _, self.hold, self.word, self.key, *fields = start.split()
        self.time, self.text = int(time), text
        self.fields = dict(field.split('=', 1) for field in fields)

    def number(self, name):
        return int(self.fields.get(name) or 0)


def client_of(who):
    """c3.2 is the second process of the client c3."""
    return who.partition('.')[0]


class Fault:
    """A fault from its beginning until nothing of it is felt any more."""

    def __init__(self, line):
        self.name, self.begin, self.end, self.line = line.key, line.time, None, line
        # 'all', 'nobody', or clients with commas between: who feels it, and for whom it breaks what.
        self.scope = line.fields['scope'].split(',')
        self.victims = line.fields.get('victims', line.fields['scope']).split(',')
        self.breaks = line.fields.get('breaks', '').split(',')

    def touches(self, who):
        return 'all' in self.scope or client_of(who) in self.scope

    def explains(self, who):
        return 'all' in self.victims or client_of(who) in self.victims


class Hold:
    """What one process did with one key, from asking for it to the end; or only tried."""

    def __init__(self, asked):
        self.who, self.key, self.number, self.asked = asked.who, asked.key, asked.hold, asked
        self.lines = [asked]
        self.told = None      # the answer to the acquire
        self.died = None      # when its process, or its dlock run, was killed
        self.run = asked.number('run') == 1
        self.renew = asked.number('renew') == 1
        self.status, self.owner, self.fence = None, '', 0

    def add(self, line):
        self.lines.append(line)
        if line.word == 'told' and line.fields['call'] == 'acquire':
            self.told, self.status = line, line.fields['status']
            self.owner, self.fence = line.fields.get('owner', ''), line.number('fence')

    def granted(self):
        return self.status == 'OK'

    def watched(self):
        """Whether its end is told as LOST."""
        return self.granted() and not self.run and (self.renew or self.asked.number('async') == 1)

    def find(self, word, *calls):
        return [line for line in self.lines if line.word == word and (not calls or line.fields['call'] in calls)]

    def longest_ttl(self):
        return max([self.asked.number('ttl')] + [line.number('ttl') for line in self.find('asks', 'extend')]) * MS

    def belief(self):
        """From when to when the holder surely believed in it, or None."""
        if not self.granted():
            return None
        start = end = self.told.time
        for line in self.lines:
            if line.time < start:
                continue
            if line.word == 'look' and line.fields['held'] == '1':
                # Valid until then, unless something of the holder's own comes between.
                seen = line.number('since')
                end = max(end, seen + line.number('left') * MS)
                last = seen
            elif line.word in ('lost', 'look'):
                end = last if end > start else end  # it may have ended right after the last look
                break
            elif line.word == 'asks' and line.fields['call'] != 'extend' or line.word == 'exits':
                end = min(end, line.time)
                break
            elif line.word == 'asks':
                end = min(end, line.time)  # the new ttl may be shorter; a look after it tells
        return start, min(end, self.died) if self.died else end


class Violation:
    def __init__(self, invariant, text, key, lines):
        self.invariant, self.text, self.key, self.lines = invariant, text, key, lines
        self.time = max(line.time for line in lines)


class History:
    """The lines of all processes, in the order of time, put together to holds and faults."""

    def __init__(self, text):
        lines = [Line(line) for line in text.splitlines() if line]
        self.lines = sorted(lines, key=lambda line: line.time)
        self.faults, self.holds, self.stalls, self.killed, self.windows_of = [], {}, [], {}, {}
        running = {}
        for line in self.lines:
            if line.word == 'fault':
                running[line.hold] = fault = Fault(line)
                self.faults.append(fault)
            elif line.word == 'over':
                running.pop(line.hold).end = line.time + line.number('settles') * MS
            elif line.word == 'stall':
                self.stalls.append((line.time, line.number('ms') * MS, line.who))
            elif line.word == 'kills':
                self.killed.setdefault(line.key, []).append(line.time)
            elif line.hold != '-':
                self.place(line)
        self.end = self.lines[-1].time if self.lines else 0
        for fault in running.values():
            fault.end = self.end
        self.mark_deaths()
        self.by_key = collections.defaultdict(list)
        for hold in self.holds.values():
            self.by_key[hold.key].append(hold)
        self.granted = sorted((hold for hold in self.holds.values() if hold.granted()), key=lambda h: h.told.time)
        self.longest_ttl = max([hold.longest_ttl() for hold in self.holds.values()], default=0)
        # What a round trip costs others at the moment tells how slow the storage is.
        self.trips, self.extends = [], collections.defaultdict(list)  # by owner: (asked, told)
        for hold in self.holds.values():
            asked = None
            for line in hold.lines:
                if line.word == 'asks':
                    asked = line
                elif line.word == 'told' and asked and line.fields['call'] in ('extend', 'release'):
                    if not self.disturbed(hold.who, asked.time, line.time):
                        self.trips.append((line.time, (line.time - asked.time), 'resource'))
                    if line.fields['call'] == 'extend':
                        self.extends[asked.fields['owner']].append((asked, line))
        self.trips.sort()

    def place(self, line):
        name = (line.who, line.hold)
        if name not in self.holds:
            if line.word != 'asks' or line.fields['call'] != 'acquire':
                raise ValueError('a line of a hold that was not asked for: ' + line.text)
            self.holds[name] = Hold(line)
        else:
            self.holds[name].add(line)

    def mark_deaths(self):
        last = {}
        for hold in self.holds.values():
            last.setdefault(hold.who, []).append(hold)
        for who, times in self.killed.items():
            for time in times:
                for hold in last.get(who, []):
                    ended = hold.lines[-1].word == 'exits' or hold.find('told', 'release', 'free', 'detach')
                    if hold.asked.time <= time and (not ended or hold.lines[-1].time >= time) and not hold.died:
                        hold.died = time

    def windows(self, who):
        """The times in which faults touch a client."""
        client = client_of(who)
        if client not in self.windows_of:
            self.windows_of[client] = merge((fault.begin, fault.end) for fault in self.faults if fault.touches(client))
        return self.windows_of[client]

    def disturbed(self, who, begin, end):
        """From when to when faults touch `who` that do so in this time, the latest; None = none does."""
        windows = self.windows(who)
        at = bisect.bisect_right(windows, [end, float('inf')])
        return windows[at - 1] if at and windows[at - 1][1] >= begin else None

    def settled(self, who, time):
        """When what `who` had sent until then has surely arrived, or got lost."""
        window = self.disturbed(who, time, time)
        return max(time, window[1]) if window else time

    def slowness(self, who, begin, end):
        """For how long the machine or the storage let somebody wait in that time, at the worst."""
        worst = 0
        for entries in (self.stalls, self.trips):
            for time, length, victim in entries[bisect.bisect_left(entries, (begin,)):]:
                if time > end + SLOWEST_US:
                    break
                # A process that was stopped sees a stall that is its own alone.
                if time - length <= end and victim in ('resource', who):
                    worst = max(worst, length)
        return worst

    def around(self, time, key, count=6):
        """The lines of a key shortly before a time."""
        at = bisect.bisect_right([line.time for line in self.lines], time)
        near = [line for line in self.lines[max(0, at - 400):at + 2]
                if line.key == key or line.who == 'nemesis' and line.word in ('fault', 'over', 'kills')]
        return near[-count:]


# ---- the invariants; each function yields violations ---------------------------------------------------------------

def exclusion(history):
    for key, holds in history.by_key.items():
        beliefs = sorted(((hold.belief(), hold.number, hold) for hold in holds if hold.granted()),
                         key=lambda entry: entry[0])
        active = []
        for (start, end), _, hold in beliefs:
            while active and active[0][0] <= start:
                heapq.heappop(active)
            for other_end, _, other in active:
                until = min(end, other_end)
                if other.owner != hold.owner and until > start:
                    name = 'command' if other.run or hold.run else 'overlap'
                    yield Violation(name, '%s and %s both hold %s, for %.3f ms at least'
                                    % (other.who, hold.who, key, (until - start) / MS), key,
                                    surroundings(other, start) + surroundings(hold, start))
            heapq.heappush(active, (end, id(hold), hold))


def surroundings(hold, begin):
    """The lines of a hold that say how it came to be and what was last known of it around a time."""
    near = [line for line in hold.lines if line.time <= begin][-3:] + [
        line for line in hold.lines if begin < line.time][:3]
    return list(dict.fromkeys([line for line in hold.lines if line.word in ('asks', 'told')][:12] + near))


def fences(history):
    holds = [hold for hold in history.granted if hold.fence > 0]
    seen = {}
    for hold in holds:
        other = seen.setdefault(hold.fence, hold)
        if other.owner != hold.owner:
            yield Violation('fence-unique', 'fence %d was given twice' % hold.fence, hold.key,
                            [other.asked, other.told, hold.asked, hold.told])
    greatest = None  # of those that were told before this one asked
    told = iter(holds)
    coming = next(told, None)
    for hold in sorted(holds, key=lambda each: each.asked.time):
        while coming and coming.told.time < hold.asked.time:
            if not greatest or coming.fence > greatest.fence:
                greatest = coming
            coming = next(told, None)
        if greatest and hold.fence < greatest.fence:
            yield Violation('fence-order', 'fence %d was given after %d' % (hold.fence, greatest.fence), hold.key,
                            [greatest.asked, greatest.told, hold.asked, hold.told])
    for key in history.by_key:
        last = None
        for hold in holds:
            if hold.key != key:
                continue
            # Those that asked while the other one had the key; if both had it, that is told elsewhere.
            if last and last.told.time >= hold.asked.time and hold.fence < last.fence and (
                    last.belief()[1] <= hold.told.time):
                yield Violation('fence-order', 'fence %d was given after %d' % (hold.fence, last.fence), key,
                                [last.asked, last.told, hold.asked, hold.told])
            last = hold


def stale(history):
    """Extends and releases that succeeded for owners who were done."""
    ended = {}  # owner -> (time, why, line)
    for key in history.by_key:
        last = None
        for hold in history.granted:
            if hold.key != key:
                continue
            if last and last.owner != hold.owner:
                ended[last.owner] = (hold.told.time, 'late-extend', hold.told)
            last = hold
    for hold in history.granted:
        for line in hold.find('told', 'release'):
            if line.fields['status'] == 'OK' and hold.owner == asked_by(hold, line):
                if line.time < ended.get(hold.owner, (line.time + 1,))[0]:
                    ended[hold.owner] = (line.time, 'stale', line)
    for hold in history.holds.values():
        for line in hold.find('told', 'extend', 'release'):
            asked = next(each for each in reversed(hold.lines[:hold.lines.index(line)]) if each.word == 'asks')
            owner = asked.fields.get('owner')
            if line.fields['status'] == 'OK' and owner in ended and asked.time > ended[owner][0]:
                _, name, why = ended[owner]
                name = name if line.fields['call'] == 'extend' else 'stale'
                yield Violation(name, 'the %s of an owner who was done was carried out' % line.fields['call'],
                                hold.key, [why, asked, line])


def extended_too_late(history):
    """Extends that brought a hold back whose ttl was over: nobody has taken the key, but somebody could have."""
    for hold in history.granted:
        if hold.renew or hold.run:
            continue
        last, ttl = hold.told, hold.asked.number('ttl')
        for asked, told in sorted(history.extends[hold.owner], key=lambda pair: pair[0].time):
            if told.fields['status'] == 'OK':
                if asked.time > history.settled(last.who, last.time) + (ttl + TICK_MS) * MS:
                    yield Violation('stale', 'the extend of a hold that was over was carried out', hold.key,
                                    [hold.told, last, asked, told])
            if told.fields['status'] != 'LOST':  # whatever else it says, it may have been carried out
                last, ttl = told, max(ttl, asked.number('ttl'))


def asked_by(hold, told):
    """The owner in the line that a line answers."""
    for line in reversed(hold.lines[:hold.lines.index(told)]):
        if line.word == 'asks':
            return line.fields.get('owner')
    return None


def resends(history):
    """Who finds a key busy finds somebody else there, unless an unknown outcome of its own may have left it."""
    by_process = collections.defaultdict(list)
    for hold in history.holds.values():
        by_process[hold.who].append(hold)
    for who, holds in by_process.items():
        unsettled = {}
        for hold in sorted(holds, key=lambda each: each.asked.time):
            holder = (hold.told.fields.get('holder') or '') if hold.told else ''
            if holder.partition(':')[0] == who and not hold.run:
                if hold.asked.time > unsettled.get(hold.key, 0):
                    yield Violation('resend-refused', '%s is refused because of its own %s' % (who, holder), hold.key,
                                    [hold.asked, hold.told])
            end = taken(history, hold)
            if end:
                unsettled[hold.key] = max(unsettled.get(hold.key, 0), end[1])


def losses(history):
    for hold in history.granted:
        lost = hold.find('lost')
        gone = [line for line in hold.find('told', 'release', 'free', 'detach')]
        if len(lost) > 1:
            yield Violation('lost-twice', '%s was told LOST %d times' % (hold.who, len(lost)), hold.key, lost)
        for line in lost:
            if gone and gone[0].time < line.number('since'):
                yield Violation('lost-after-release', '%s was told LOST after its release' % hold.who, hold.key,
                                [hold.told, gone[0], line])
        for line in lost[:1]:
            yield from healthy_loss(history, hold, line)
        yield from ends_untold(history, hold, lost)


def healthy_loss(history, hold, line):
    margin, ttl = hold.asked.number('margin'), min([hold.asked.number('ttl')] + [
        extend.number('ttl') for extend in hold.find('asks', 'extend')])
    # A lock that is not renewed ends by LOST, when the margin begins; else there is this time for its renewal.
    if not hold.renew and line.number('left') <= margin + 50:
        return
    spare = (ttl - ttl // 3 - min(margin, ttl // 2)) * MS
    begin = line.time - hold.longest_ttl() - BOUND_US // 2
    if history.disturbed(hold.who, begin, line.time):
        return
    if spare < SPARE_US or history.slowness(hold.who, begin, line.time) > spare // 4:
        return
    yield Violation('lost-healthy', '%s lost a lock that nothing was wrong with' % hold.who, hold.key,
                    surroundings(hold, line.time) + [line])


def ends_untold(history, hold, lost):
    if not hold.watched():
        return
    margin = min([hold.asked.number('margin')] + [line.number('ttl') // 5 for line in hold.find('asks', 'extend')])
    told = lost[0].time if lost else None
    leaving = [line.time for line in hold.find('asks', 'release', 'free', 'detach')]
    for line in hold.find('look'):
        held, since = line.fields['held'] == '1', line.number('since')
        if held and told and since > told:
            yield Violation('held-after-lost', '%s holds after LOST' % hold.who, hold.key, [hold.told, lost[0], line])
        elif held and line.number('left') < margin // 2:
            allowed = history.slowness(hold.who, since - BOUND_US, since)
            if line.number('left') * MS < margin * MS // 2 - allowed:
                yield Violation('lost-late', '%s was not told LOST %d ms before the end of its validity'
                                % (hold.who, line.number('left')), hold.key, [hold.told, line])
        elif not held and not lost and not (leaving and leaving[0] < since) and not hold.died:
            yield Violation('lost-untold', '%s was not told LOST' % hold.who, hold.key,
                            surroundings(hold, line.time))


def taken(history, hold):
    """From when to when the storage may have had this hold, at the most; None if it surely had not. An undisturbed
    grant is made about when it is told."""
    last = hold.lines[-1]
    gone = hold.died or last.time
    if not hold.granted():
        if hold.told and hold.status not in ('UNAVAILABLE', 'CANCELLED'):
            return None
        if last.word == 'exits' and last.number('code') == 75:
            return None
        told = hold.told.time if hold.told else gone
        if hold.status == 'CANCELLED' and not history.disturbed(hold.who, hold.asked.time, told):
            return told, told + CANCEL_US
        return hold.asked.time, history.settled(hold.who, told) + hold.longest_ttl()
    window = history.disturbed(hold.who, hold.asked.time, hold.told.time)
    start = max(hold.asked.time, window[0]) if window else hold.told.time
    for asked, told in pairs(hold.lines):
        if asked.word == 'asks' and asked.fields['call'] in ('release', 'free') and told.word in ('told', 'exits'):
            done = told.fields.get('status') == 'OK' or told.fields.get('code') == '0' or (
                asked.fields['call'] == 'free')
            # Of a free, or a dlock run, nobody says whether the storage had its release.
            if done and (told.fields.get('status') == 'OK' or
                         not history.disturbed(hold.who, asked.time, told.time)):
                return start, told.time
    if not hold.renew and not hold.run:
        gone = max([hold.told.time] + [line.time for line in hold.find('told', 'extend')])
        if last.word == 'asks' and last.fields['call'] == 'extend':
            gone = hold.died or last.time
    # Another lock may have adopted the owner, and extended it.
    end = max([gone] + [told.time for _, told in history.extends[hold.owner]])
    return start, history.settled(hold.who, end) + history.longest_ttl


def merge(intervals):
    """Overlapping intervals as one, in order."""
    merged = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    return merged


def longest_gap(covered, begin, end):
    """The longest part of begin..end that no interval covers."""
    longest, at = (0, begin), begin
    first = max(0, bisect.bisect_left(covered, [begin, 0]) - 1)
    for start, stop in covered[first:]:
        if start >= end:
            break
        longest = max(longest, (start - at, at))
        at = max(at, stop)
    return max(longest, (end - at, at))


def waits(history):
    """No waiter is without the key for longer than its interval and a bound while nobody can have it. That is also how
    a lock of a dead holder, or of unknown outcome, is seen to end with its ttl."""
    history.longest_free = 0
    for key, holds in history.by_key.items():
        covered = merge(interval for interval in (taken(history, hold) for hold in holds) if interval)
        for hold in holds:
            if hold.asked.number('wait') == 0:
                continue
            end = hold.told.time if hold.told else hold.died or hold.lines[-1].time
            first = max(0, bisect.bisect_left(covered, [hold.asked.time, 0]) - 1)
            others = covered[first:bisect.bisect_left(covered, [end, 0])]
            gap, at = longest_gap(merge(others + history.windows(hold.who)), hold.asked.time, end)
            allowed = hold.asked.number('interval') * MS + BOUND_US
            history.longest_free = max(history.longest_free, gap)
            if gap > allowed and gap > allowed + 2 * history.slowness(hold.who, at, at + gap):
                yield Violation('wait', '%s waited for %d ms although %s was free' % (hold.who, gap // MS, key), key,
                                history.around(at, key) + [hold.asked] + ([hold.told] if hold.told else []))


def answers(history):
    """Not every call: storages have limits of their own, of 50 ms and more, which a slow machine may exceed."""
    answered, silent = 0, []
    for hold in history.holds.values():
        for asked, told in pairs(hold.lines):
            if told.word == 'told' and asked.word == 'asks' and not history.disturbed(hold.who, asked.time, told.time):
                if told.fields['status'] == 'UNAVAILABLE':
                    silent.append(told)
                else:
                    answered += 1
    history.silent = len(silent)
    if len(silent) > max(answered, 10):
        yield Violation('answers', '%d calls had no answer, and %d had one' % (len(silent), answered), silent[0].key,
                        silent[:5])


def strange(history):
    for hold in history.holds.values():
        for line in hold.find('told'):
            status, call = line.fields['status'], line.fields['call']
            expected = {'acquire': ('OK', 'BUSY', 'UNAVAILABLE', 'CANCELLED'), 'detach': ('OK',), 'free': ('-',)}
            if status not in expected.get(call, ('OK', 'LOST', 'UNAVAILABLE')):
                yield Violation('status', '%s of %s: %s' % (call, hold.who, status), hold.key, [hold.asked, line])
    for line in history.lines:
        if line.word == 'crashes':
            yield Violation('crash', '%s: %s' % (line.key, line.text.partition(' # ')[2]), line.key, [line])
        elif line.word == 'left':
            yield Violation('left-behind', '%s is still held by %s' % (line.key, line.fields['owner']), line.key,
                            [line])
        elif line.word == 'overwritten' and line.fields['table'] == 'fenced':
            yield Violation('fenced-update', '%s updates of the fenced resource were lost' % line.fields['updates'],
                            line.key, history.around(line.time, line.key) + [line])


def overtaken(history):
    """Writers that were stopped while somebody else got their key and wrote: that must be seen to be lost."""
    history.overtaken = 0
    for hold in history.granted:
        for before, after in pairs(hold.lines):
            if before.word != 'stops':
                continue
            others = [other for other in history.by_key[hold.key]
                      if other is not hold and wrote(other, before.time, after.time)]
            if not others:
                continue
            history.overtaken += 1
            seen = [line for line in history.lines if line.word == 'overwritten' and line.key == hold.key
                    and line.fields['table'] == 'unfenced' and before.time < line.time]
            if not seen:
                yield Violation('unfenced-update', 'no update is seen lost when %s goes on' % hold.who, hold.key,
                                [before, after, others[0].told])


def wrote(hold, begin, end):
    """Whether all of a hold, with an update, was within that time."""
    if not hold.granted() or hold.told.time < begin:
        return False
    looks = [line for line in hold.find('look') if line.fields['held'] == '1']
    gone = hold.find('asks', 'release')
    return len(looks) >= 2 and bool(gone) and gone[0].time < end


CHECKS = [exclusion, fences, stale, extended_too_late, resends, losses, waits, answers, strange,
          overtaken]


class Report:
    """What the checker found: violations, those that a fault explains as documented, and figures."""

    def __init__(self, text):
        self.history = history = History(text)
        self.violations, self.explained = [], collections.Counter()
        for check in CHECKS:
            for violation in check(history):
                fault = self.explanation(violation)
                if fault:
                    self.explained[(violation.invariant, fault.name)] += 1
                else:
                    self.violations.append(violation)
        self.violations.sort(key=lambda each: each.time)

    def explanation(self, violation):
        """The last fault that is documented to break this invariant, and may have."""
        first = min(line.time for line in violation.lines)
        for fault in sorted(self.history.faults, key=lambda fault: -fault.begin):
            if violation.invariant in fault.breaks and fault.begin <= violation.time and (
                    first <= fault.end + self.history.longest_ttl) and (
                    any(fault.explains(line.who) for line in violation.lines)):
                return fault
        return None

    def figures(self):
        history, holds = self.history, self.history.holds.values()
        calls = [line for hold in holds for line in hold.find('told')]
        unknown = [line for line in calls if line.fields['status'] == 'UNAVAILABLE']
        untold = [hold for hold in holds if not hold.told and not hold.run]
        handed = sum(client_of(before.who) != client_of(after.who) for key in history.by_key
                     for before, after in pairs([hold for hold in history.granted if hold.key == key]))
        waited = [hold.told.time - hold.asked.time for hold in history.granted]
        totals = collections.Counter()
        for line in history.lines:
            if line.word == 'total':
                for name in ('updates', 'refused', 'overwritten'):
                    totals[line.fields['table'], name] += line.number(name)
        return {
            'operations': len(calls), 'grants': len(history.granted),
            'grants of dlock run': sum(hold.run for hold in history.granted),
            'hand-overs': handed, 'unknown outcomes': len(unknown) + len(untold),
            'of them, without a fault': history.silent,
            'losses told': sum(len(hold.find('lost')) for hold in holds),
            'stopped writers overtaken': history.overtaken,
            'longest wait': '%d ms' % (max(waited, default=0) // MS),
            'longest wait for a free key': '%d ms' % (history.longest_free // MS),
            'longest stall of the machine': '%d ms' % (max([stall[1] for stall in history.stalls
                                                            if stall[2] == 'resource'], default=0) // MS),
            'slowest round trip': '%d ms' % (max([trip[1] for trip in history.trips], default=0) // MS),
            'fenced updates': '%d, lost %d, refused %d requests'
                              % tuple(totals['fenced', name] for name in ('updates', 'overwritten', 'refused')),
            'unfenced updates': '%d, lost %d' % (totals['unfenced', 'updates'], totals['unfenced', 'overwritten']),
        }


def pairs(items):
    return zip(items, items[1:])
