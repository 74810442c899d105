/* A libnvidia-ml.so.1 for machines without a GPU. The file named by FAKE_NVML is read at each call: a first line with
 * what nvmlInit_v2 returns (or `hang`), then one line a device: minor, UUID, name without spaces, MIG mode,
 * utilization in %, memory used and total in bytes, power in mW, temperature in degrees; `!n` instead of a value is
 * NVML's error n, and as a minor of a device that fell off the bus. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MINOR, UUID, NAME, MIG, LOAD, USED, TOTAL, POWER, HEAT, FIELDS };
#define MOST 16

static int devices;
static char field[MOST][FIELDS][96];

static int load(void)
{
    char first[32] = "9";
    FILE *file = fopen(getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "/nonexistent", "r");
    devices = 0;
    if (!file)
        return 9; /* NVML_ERROR_DRIVER_NOT_LOADED */
    if (fscanf(file, "%31s", first) != 1)
        first[0] = '9';
    while (devices < MOST) {
        int read = 0;
        while (read < FIELDS && fscanf(file, "%95s", field[devices][read]) == 1)
            read++;
        if (read < FIELDS)
            break;
        devices++;
    }
    fclose(file);
    while (!strcmp(first, "hang"))
        sleep(1);
    return atoi(first);
}

static int number(void *device, int which, unsigned long long *value)
{
    long index = (long)device - 1;
    int problem = load();
    if (problem)
        return problem;
    if (index < 0 || index >= devices)
        return 2; /* NVML_ERROR_INVALID_ARGUMENT */
    if (field[index][which][0] == '!')
        return atoi(field[index][which] + 1);
    *value = strtoull(field[index][which], NULL, 10);
    return 0;
}

static int small(void *device, int which, unsigned int *value)
{
    unsigned long long wide = 0;
    int problem = number(device, which, &wide);
    *value = (unsigned int)wide;
    return problem;
}

static int text(void *device, int which, char *buffer, unsigned int length)
{
    unsigned long long unused;
    int problem = number(device, which, &unused);
    if (!problem)
        snprintf(buffer, length, "%s", field[(long)device - 1][which]);
    return problem;
}

int nvmlInit_v2(void) { return load(); }
int nvmlShutdown(void) { return 0; }

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    int problem = load();
    *count = devices;
    return problem;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
    unsigned long long unused;
    int problem = number((void *)(long)(index + 1), MINOR, &unused);
    *device = problem ? NULL : (void *)(long)(index + 1);
    return problem;
}

int nvmlDeviceGetMinorNumber(void *device, unsigned int *minor) { return small(device, MINOR, minor); }
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) { return text(device, UUID, uuid, length); }
int nvmlDeviceGetName(void *device, char *name, unsigned int length) { return text(device, NAME, name, length); }
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) { return small(device, POWER, milliwatts); }

int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending)
{
    *pending = 0;
    return small(device, MIG, current);
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *degrees)
{
    return sensor ? 2 : small(device, HEAT, degrees);
}

typedef struct { unsigned int gpu, memory; } rates_t;

int nvmlDeviceGetUtilizationRates(void *device, rates_t *rates)
{
    return small(device, LOAD, &rates->gpu);
}

typedef struct { unsigned long long total, free, used; } memory_t;

int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory)
{
    int problem = number(device, TOTAL, &memory->total);
    return problem ? problem : number(device, USED, &memory->used);
}
