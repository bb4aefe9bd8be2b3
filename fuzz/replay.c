/* replay.c - a main for fuzz targets without a fuzzer: feeds each file of some folders to the target, one TAP case
 * each.
 *
 * Called by `make check`, with the seed corpus; and by hand, with a file that a fuzzer found. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count;

/* The target aborts if it finds something; then the cases that were printed say which file it was. */
static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0)
        data = malloc((size_t)size + 1);
    bool complete = false;
    if (data) {
        rewind(file);
        complete = fread(data, 1, (size_t)size, file) == (size_t)size;
    }
    printf("# %s\n", path);
    if (complete)
        LLVMFuzzerTestOneInput(data, (size_t)size);
    printf("%sok %d - %s\n", complete ? "" : "not ", ++count, strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
    free(data);
    if (file)
        fclose(file);
    return complete ? 0 : 1;
}

static int replay_folder(const char *path)
{
    struct dirent **entries;
    const int found = scandir(path, &entries, NULL, alphasort);
    int failed = found < 0;
    for (int i = 0; i < found; i++) {
        char name[4096];
        if (entries[i]->d_name[0] != '.' && snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name) > 0)
            failed += replay(name);
        free(entries[i]);
    }
    if (found >= 0)
        free(entries);
    return failed;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat status;
        const bool folder = stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode);
        failed += folder ? replay_folder(argv[i]) : replay(argv[i]);
    }
    printf("1..%d\n", count);
    return failed || count == 0;
}
