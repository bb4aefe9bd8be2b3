/* counter.c - adds one to the number in a file, as badly as a program that relies on a lock may: read, then write.
 *
 * Run by test_together.py under dlock; without it, increments are lost. */
#include <stdio.h>

int main(int argc, char **argv)
{
    int number = 0;
    FILE *file = argc == 2 ? fopen(argv[1], "r+") : NULL;

    if (!file || fscanf(file, "%d", &number) != 1)
        return 1;
    rewind(file);
    return fprintf(file, "%d\n", number + 1) < 0 || fclose(file) != 0;
}
