/* SPDX-License-Identifier: BSD-2-Clause
 * Kills the context of a GPU under a program: LD_PRELOAD=fault.so TD_FAULT=FILE[:DEVICE] PROGRAM. As soon as FILE is
 * there, a kernel traps on that device (0) in the context that the program uses; from then on each call of CUDA fails
 * there, until the process ends. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cuda_runtime.h>

static __global__ void trap_kernel(void) { asm("trap;"); }

static void *wait_for_it(void *arg)
{
    char *file = (char *)arg, *colon = strrchr(file, ':');
    int device = colon ? atoi(colon + 1) : 0;

    if (colon)
        *colon = 0;
    while (access(file, F_OK) != 0)
        usleep(10000);
    if (cudaSetDevice(device) == cudaSuccess)
        trap_kernel<<<1, 1>>>();
    fprintf(stderr, "fault: %s\n", cudaGetErrorName(cudaDeviceSynchronize()));
    return NULL;
}

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("TD_FAULT");
    pthread_t thread;

    if (file && pthread_create(&thread, NULL, wait_for_it, strdup(file)) == 0)
        pthread_detach(thread);
}
