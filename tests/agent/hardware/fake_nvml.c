/* A libnvidia-ml.so.1 for machines without a GPU. The file named by FAKE_NVML is read at each call: a first line with
 * what nvmlInit_v2 returns (or `hang`), then one line a device: minor, UUID, name without spaces, MIG mode
 * (0, 1, or its parts: `MIG-a@1.0,MIG-b@2.0`, with GPU and compute instance), utilization in %, memory used and total in bytes, power in mW, temperature in degrees; `!n` instead of a value is
 * NVML's error n, and as a minor of a device that fell off the bus. The first device is the first one on the PCI bus. */
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

/* The n-th part of a device, from 0: its words, or NULL. Handles of parts are 1000 * device + n + 1. */
static const char *part(long device, unsigned int n)
{
    const char *at = device >= 1 && device <= devices ? field[device - 1][MIG] : "";
    while (n-- && at)
        at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL;
    return at && !strncmp(at, "MIG-", 4) ? at : NULL;
}

static int instance(void *device, int after, unsigned int *id)
{
    long handle = (long)device;
    int problem = load();
    const char *words = handle > 1000 ? part(handle / 1000, handle % 1000 - 1) : NULL;
    if (problem || !words)
        return problem ? problem : 2;
    words = strchr(strchr(words, '@'), after);
    *id = (unsigned int)strtoul(words + 1, NULL, 10);
    return 0;
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
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length)
{
    long handle = (long)device;
    if (handle < 1000)
        return text(device, UUID, uuid, length);
    int problem = load();
    const char *words = part(handle / 1000, handle % 1000 - 1);
    if (!problem && words)
        snprintf(uuid, length, "%.*s", (int)strcspn(words, "@"), words);
    return problem ? problem : words ? 0 : 2;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) { return text(device, NAME, name, length); }
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) { return small(device, POWER, milliwatts); }

int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending)
{
    int problem = small(device, MIG, current);
    *pending = 0;
    if (!problem && part((long)device, 0))
        *current = 1;
    return problem;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *count)
{
    unsigned long long unused;
    *count = 7;
    return number(device, MINOR, &unused);
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned int n, void **handle)
{
    int problem = load();
    if (!problem && !part((long)device, n))
        return 6; /* NVML_ERROR_NOT_FOUND */
    *handle = (void *)(1000 * (long)device + n + 1);
    return problem;
}

int nvmlDeviceGetGpuInstanceId(void *device, unsigned int *id) { return instance(device, '@', id); }
int nvmlDeviceGetComputeInstanceId(void *device, unsigned int *id) { return instance(device, '.', id); }

typedef struct { char legacy[16]; unsigned int domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;

int nvmlDeviceGetPciInfo_v3(void *device, pci_t *pci)
{
    unsigned long long unused;
    int problem = number(device, MINOR, &unused);
    memset(pci, 0, sizeof *pci);
    if (!problem)
        snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02lX:00.0", (long)device);
    return problem;
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
