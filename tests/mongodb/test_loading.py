"""What a program loads of MongoDB: nothing, unless its locks are there; and what that leaves on the machine."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'cli'))
from world import World, cases, check, equal, main  # pylint: disable=wrong-import-position


def loaded(w, *arguments):
    """What dlock has mapped while its command runs."""
    done = w.dlock('run', *arguments, '--', 'sh', '-c', 'cat /proc/$PPID/maps')
    equal(done.code, 0, repr(done))
    return done.out


def use_mongodb(w):
    w.env['DLOCK_STORE'] = os.environ['URL']
    w.env['DLOCK_MODULE_PATH'] = os.environ['MODULES']


def case_another_storage_does_not_load_libmongoc():
    with World() as w:
        found = loaded(w, 'k')
        check('libsqlite3' in found, found)
        check('mongoc' not in found and 'bson' not in found and 'mongodb' not in found, found)


def case_mongodb_is_loaded_for_its_urls():
    with World() as w:
        use_mongodb(w)
        found = loaded(w, 'loading')
        check('libmongoc' in found and '/mongodb.so' in found, found)


def case_killed_program_leaves_no_shared_memory():
    with World() as w:
        use_mongodb(w)
        w.env.pop('MONGOC_DISABLE_SHM', None)
        done = w.dlock('run', 'shared-memory', '--', 'sh', '-c', 'echo $PPID; kill -9 $PPID')
        killed = int(done.out)
        check(not os.path.exists('/dev/shm/mongoc-%d' % killed), repr(done))


main(cases(globals()))
